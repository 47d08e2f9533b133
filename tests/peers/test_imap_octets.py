"""The same octets said to Dovecot straight and through onrecord: every octet of the answers is the same.

What must differ is taken out first: capabilities that are withheld, and what a server says of its own clock. Before
each of the two conversations the mailboxes are what they were, with every UID, date and flag.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest
from debian_peers import PASSWORD, bearer_token
from imap_client import ImapClient, plain_response
from imap_transcript import comparable
from mailbox_chain import DIRECT, RELAYED, MailboxChain

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024

# What is asked before the login has led to a server is answered here, in words of ours.
ANSWERED_HERE = ("capability and login", "authenticate plain after a prompt")
Script = Callable[[ImapClient, str], Awaitable[object]]
SCRIPTS: dict[str, Script] = {}


def script(function: Script) -> Script:
    """Names a script by what its function is called."""
    SCRIPTS[function.__name__.strip("_").replace("_", " ")] = function
    return function


def _message(number: int, text: bytes = b"Hello\r\n") -> bytes:
    return (
        b"From: Kim <kim@cust.example>\r\nTo: ann@acme.example\r\nSubject: Offer %d\r\n"
        b"Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%d@cust.example>\r\n\r\n" % (number, number)
    ) + text


MULTIPART = (
    b"From: Kim <kim@cust.example>\r\nTo: ann@acme.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe {5}\r\n"
    b'--b\r\nContent-Type: application/octet-stream; name="{7}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    + base64.encodebytes(bytes(range(256)) * 8).replace(b"\n", b"\r\n")
    + b"--b--\r\n"
)
TRICKY = _message(4, b"a1 OK not the end\r\n* BYE\r\n+ go\r\n* 3 FETCH (BODY[] {100}\r\n\r\n* CAPABILITY STARTTLS\r\n")


# -- before the login -------------------------------------------------------------------------------------------------


@script
async def _capability_and_login(client: ImapClient, login: str) -> None:
    await client.command(b"a1 CAPABILITY")
    await client.command(b"a2 NOOP")
    await client.command(b'a3 ID ("name" "test")')
    await client.enter(login, "wrong")
    await client.enter(login)
    await client.command(b"a4 CAPABILITY")
    await client.command(b"a5 NOOP")
    await client.command(b"a6 LOGOUT")


@script
async def _login_by_literals(client: ImapClient, login: str) -> None:
    name, password = login.encode(), PASSWORD.encode()
    await client.go_ahead(b"a1 LOGIN {%d}" % len(name))
    await client.go_ahead(name + b" {%d}" % len(password))
    client.send(password + b"\r\n")
    await client.tagged(b"a1")
    await client.command(b"a2 LOGOUT")


@script
async def _login_by_literals_that_do_not_wait(client: ImapClient, login: str) -> None:
    name, password = login.encode(), PASSWORD.encode()
    client.send(b"a1 LOGIN {%d+}\r\n%s {%d+}\r\n%s\r\n" % (len(name), name, len(password), password))
    await client.tagged(b"a1")
    await client.command(b"a2 LOGOUT")


@script
async def _authenticate_plain_with_initial_response(client: ImapClient, login: str) -> None:
    await client.command(b"a1 AUTHENTICATE PLAIN " + plain_response(login, "wrong"))
    await client.command(b"a2 authenticate plain " + plain_response(login))
    await client.command(b"a3 LOGOUT")


@script
async def _authenticate_plain_after_a_prompt(client: ImapClient, login: str) -> None:
    for tag, answer in ((b"a1", b"*"), (b"a2", plain_response(login, "wrong")), (b"a3", plain_response(login))):
        await client.go_ahead(tag + b" AUTHENTICATE PLAIN")
        client.send(answer + b"\r\n")
        await client.tagged(tag)
    await client.command(b"a4 LOGOUT")


@script
async def _authenticate_login(client: ImapClient, login: str) -> None:
    await client.go_ahead(b"a1 AUTHENTICATE LOGIN")
    await client.go_ahead(base64.b64encode(login.encode()))
    client.send(base64.b64encode(PASSWORD.encode()) + b"\r\n")
    await client.tagged(b"a1")
    await client.command(b"a2 LOGOUT")


@script
async def _authenticate_xoauth2(client: ImapClient, login: str) -> None:
    bad, good = (_xoauth2(login, token) for token in ("x" * 3000, bearer_token(login)))
    await client.go_ahead(b"a1 AUTHENTICATE XOAUTH2 " + bad)
    client.send(b"\r\n")
    await client.tagged(b"a1")
    await client.go_ahead(b"a2 AUTHENTICATE XOAUTH2")
    client.send(good + b"\r\n")
    await client.tagged(b"a2")
    await client.command(b"a3 LOGOUT")


def _xoauth2(login: str, token: str) -> bytes:
    return base64.b64encode(f"user={login}\1auth=Bearer {token}\1\1".encode())


# -- after it ---------------------------------------------------------------------------------------------------------


@script
async def _mailboxes(client: ImapClient, login: str) -> None:
    await client.begin(login)
    for number, line in enumerate(
        (
            b'LIST "" "*"',
            b'LIST (SPECIAL-USE) "" "*"',
            b'LIST "" % RETURN (SUBSCRIBED CHILDREN STATUS (MESSAGES UNSEEN))',
            b'LSUB "" *',
            b"NAMESPACE",
            b"CREATE Work/Offers",
            b'CREATE "&AOQA9gD8-"',
            b"SUBSCRIBE Work/Offers",
            b"RENAME Work/Offers Work/Done",
            b"STATUS INBOX (MESSAGES RECENT UIDNEXT UNSEEN HIGHESTMODSEQ)",
            b"SELECT INBOX",
            b"SELECT nowhere",
            b"EXAMINE Work/Done",
            b"UNSELECT",
            b"DELETE Work/Done",
            b"ENABLE CONDSTORE QRESYNC UTF8=ACCEPT",
            b"SELECT INBOX (CONDSTORE)",
            b"ID NIL",
            b"nonsense",
            b"CLOSE",
            b"LOGOUT",
        )
    ):
        await client.command(b"t%d " % number + line)


@script
async def _fetching(client: ImapClient, login: str) -> None:
    await client.begin(login)
    await client.command(b"s SELECT INBOX")
    for number, items in enumerate(
        (
            b"1:* ALL",
            b"1:* FULL",
            b"1:* FAST",
            b"1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)",
            b"1 BODY.PEEK[]",
            b"1:4 (BODY.PEEK[] UID)",
            b"2 RFC822",
            b"3 (RFC822.HEADER RFC822.TEXT)",
            b"3 (BODY.PEEK[HEADER] BODY.PEEK[1] BODY.PEEK[2.MIME] BODY.PEEK[TEXT])",
            b"3 (BINARY.PEEK[2] BINARY.SIZE[2])",
            b"1:* BODY.PEEK[HEADER.FIELDS (FROM SUBJECT)]",
            b"1:* (BODY.PEEK[]<0.20> BODY.PEEK[]<20.30>)",
            b"4 BODY[]<0.64>",
            b"4 BODY[]<64.100000>",
            b"4 BODY.PEEK[]<1000000.1>",
            b"9 BODY[]",
            b"1 BODY[",
        )
    ):
        await client.command(b"t%d FETCH " % number + items)
    await client.command(b"u UID FETCH 1:* (FLAGS)")
    await client.command(b"v UID FETCH 1:3 BODY.PEEK[]")
    await client.command(b"z LOGOUT")


@script
async def _changing(client: ImapClient, login: str) -> None:
    await client.begin(login)
    await client.command(b"s SELECT INBOX")
    for number, line in enumerate(
        (
            b"STORE 1 +FLAGS (\\Seen $Label)",
            b"STORE 1:2 FLAGS.SILENT (\\Flagged)",
            b"UID STORE 3 -FLAGS (\\Seen)",
            b"SEARCH ALL",
            b"UID SEARCH RETURN (MIN MAX COUNT) UNSEEN",
            b"SEARCH SUBJECT {5+}\r\nOffer",
            b'SEARCH TEXT "x {5}"',
            b"SORT (REVERSE SUBJECT) UTF-8 ALL",
            b"THREAD REFERENCES UTF-8 ALL",
            b"COPY 1 Sent",
            b"MOVE 1 Trash",
            b"UID MOVE 2 Sent",
            b"STORE 1 +FLAGS.SILENT (\\Deleted)",
            b"EXPUNGE",
            b"UID EXPUNGE 1:*",
            b"CHECK",
            b"NOOP",
            b"LOGOUT",
        )
    ):
        await client.command(b"t%d " % number + line)


@script
async def _appending(client: ImapClient, login: str) -> None:
    await client.begin(login)
    for number in range(3):
        content = _message(10 + number)
        await client.go_ahead(b"w%d APPEND Sent (\\Seen) {%d}" % (number, len(content)))
        client.send(content + b"\r\n")
        await client.tagged(b"w%d" % number)
    content = _message(20)
    client.send(b'n APPEND Sent (\\Seen) "24-Nov-2026 10:00:00 +0100" {%d+}\r\n%s\r\n' % (len(content), content))
    await client.tagged(b"n")
    client.send(b"m APPEND Sent {%d+}\r\n%s {%d+}\r\n%s\r\n" % (len(content), content, len(TRICKY), TRICKY))
    await client.tagged(b"m")
    await client.go_ahead(b"r APPEND {5}")
    client.send(b"Trash {%d}\r\n" % len(content))
    await client.until(rb"^\+[^\r\n]*\r\n")
    client.send(content + b"\r\n")
    await client.tagged(b"r")
    await client.command(b"x APPEND nowhere {%d+}\r\n%s" % (len(content), content))
    client.send(b"y APPEND nowhere {%d}\r\n" % len(content))
    if (await client.until(rb"^(?:\+|y NO)[^\r\n]*\r\n")).endswith(b"+ OK\r\n"):
        await client.command(content + b"\r\n")
    await client.command(b"s SELECT Sent")
    await client.command(b"f FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[])")
    await client.command(b"z LOGOUT")


@script
async def _idling(client: ImapClient, login: str) -> None:
    await client.begin(login)
    await client.command(b"s SELECT INBOX")
    for tag in (b"i", b"j"):
        await client.go_ahead(tag + b" IDLE")
        client.send(b"DONE\r\n")
        await client.tagged(tag)
    await client.go_ahead(b"k IDLE")
    client.send(b"done\r\nl NOOP\r\nm FETCH 1 FLAGS\r\n")
    await client.tagged(b"m")
    await client.go_ahead(b"o IDLE")
    client.send(b"NOT DONE\r\n")
    await client.tagged(b"o")
    await client.command(b"z LOGOUT")


@script
async def _all_at_once(client: ImapClient, login: str) -> None:
    await client.greet()
    content = _message(30)
    client.send(
        b'a LOGIN "%s" "%s"\r\nb SELECT INBOX\r\nc FETCH 1:* BODY.PEEK[]\r\n' % (login.encode(), PASSWORD.encode())
        + b"d APPEND Sent {%d+}\r\n%s\r\n" % (len(content), content)
        + b"e FETCH 4 (FLAGS BODY.PEEK[HEADER])\r\nf STORE 1 +FLAGS (\\Seen)\r\ng SEARCH SEEN\r\nh LOGOUT\r\n"
    )
    await client.rest()


@script
async def _ten_megabytes(client: ImapClient, login: str) -> None:
    content = _message(40, b"0123456789abcdef" * 63 + b"\r\n") + (b"x" * 998 + b"\r\n") * (10 * MIB // 1000)
    await client.begin(login)
    await client.go_ahead(b"a APPEND INBOX {%d}" % len(content))
    client.send(content + b"\r\n")
    await client.tagged(b"a")
    await client.command(b"s SELECT INBOX")
    await client.command(b"f FETCH 5 (UID BODY.PEEK[])")
    for place in range(0, len(content), 3 * MIB):
        await client.command(b"p FETCH 5 BODY.PEEK[]<%d.%d>" % (place, 3 * MIB))
    await client.command(b"z LOGOUT")
    assert client.transcript.count(content) == 1


# -- the comparison ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "door"),
    [
        pytest.param(name, door, id=f"{name}-{door}".replace(" ", "-"))
        for name in SCRIPTS
        for door in ("starttls", "implicit", "routed")
        if door != "routed" or name not in ANSWERED_HERE
    ],
)
async def test_every_octet_is_the_same(mailboxes: MailboxChain, name: str, door: str) -> None:
    direct, relayed = await _both(mailboxes, SCRIPTS[name], door)
    assert relayed == direct


class OctetWise(ImapClient):
    """A client each of whose octets goes on its way alone."""

    def __init__(self, port: int, *, context: object) -> None:
        super().__init__(port, context=context)  # type: ignore[arg-type]
        self._unsent = bytearray()

    def send(self, octets: bytes) -> None:
        self._unsent += octets

    async def until(self, pattern: bytes) -> bytes:
        await self._trickle()
        return await super().until(pattern)

    async def rest(self) -> bytes:
        await self._trickle()
        return await super().rest()

    async def _trickle(self) -> None:
        octets, self._unsent = bytes(self._unsent), bytearray()
        for place in range(len(octets)):
            super().send(octets[place : place + 1])
            await asyncio.sleep(0)


@pytest.mark.parametrize("name", [each for each in SCRIPTS if each != "ten megabytes"])
async def test_octets_that_come_one_by_one_are_understood_the_same(mailboxes: MailboxChain, name: str) -> None:
    direct, relayed = await _both(mailboxes, SCRIPTS[name], "implicit", relayed_by=OctetWise)
    assert relayed == direct


async def test_compress_is_refused_by_the_server_itself(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    async with ImapClient(mailboxes.port(RELAYED, "implicit"), context=mailboxes.pki.client_context()) as client:
        await client.begin(login)
        assert b"COMPRESS" not in await client.command(b"a CAPABILITY")
        assert (await client.command(b"b COMPRESS DEFLATE")).startswith(b"b BAD")
        assert (await client.command(b"c NOOP")).startswith(b"c OK")


async def test_mail_that_arrives_is_told_to_a_client_in_idle(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    async with ImapClient(mailboxes.port(RELAYED, "implicit"), context=mailboxes.pki.client_context()) as client:
        await client.begin(login)
        await client.command(b"a SELECT INBOX")
        await client.go_ahead(b"b IDLE")
        await mailboxes.dovecot.deliver(login, _message(1))
        assert b"* 1 EXISTS\r\n" in await client.until(rb"^\* 1 RECENT\r\n")
        client.send(b"DONE\r\n")
        assert b"b OK" in await client.tagged(b"b")


@pytest.mark.parametrize("state", ["in IDLE", "between commands"])
async def test_who_is_thrown_out_hears_the_servers_last_words(mailboxes: MailboxChain, state: str) -> None:
    heard = {}
    for way in (DIRECT, RELAYED):
        login = await mailboxes.new_login()
        async with ImapClient(mailboxes.port(way, "implicit"), context=mailboxes.pki.client_context()) as client:
            await client.begin(login)
            await client.command(b"a SELECT INBOX")
            if state == "in IDLE":
                await client.go_ahead(b"b IDLE")
            await mailboxes.dovecot.doveadm("kick", login)
            heard[way] = await client.rest()
    assert heard[RELAYED] == heard[DIRECT]
    assert heard[RELAYED].startswith(b"* BYE ")


async def _both(
    mailboxes: MailboxChain, script: Script, door: str, *, relayed_by: type[ImapClient] = ImapClient
) -> tuple[bytes, bytes]:
    """What the server said straight, and what it said through us."""
    login = await mailboxes.new_login()
    for content in (_message(1), _message(2), MULTIPART, TRICKY):
        await mailboxes.dovecot.deliver(login, content)
    await mailboxes.dovecot.remember(login)
    said = [await _transcript(mailboxes, script, door, login, DIRECT, ImapClient)]
    await mailboxes.dovecot.restore(login)
    said.append(await _transcript(mailboxes, script, door, login, RELAYED, relayed_by))
    return said[0], said[1]


async def _transcript(
    mailboxes: MailboxChain, script: Script, door: str, login: str, way: str, kind: type[ImapClient]
) -> bytes:
    context = mailboxes.pki.client_context()
    async with kind(mailboxes.port(way, door), context=None if door == "starttls" else context) as client:
        if door != "implicit":
            # What is told before TLS, or before the login leads to a provider, is ours, and no copy of the server's.
            await client.greet()
            if door == "starttls":
                await client.start_tls(context)
            client.transcript.clear()
            client.transcript += b"* OK as in private\r\n"
            client.taken = 0
        await script(client, login)
        await client.rest()
        return comparable(bytes(client.transcript))
