"""What clients that we did not write read or save at Dovecot through onrecord is in the log, once, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import re
import uuid
from pathlib import Path

import pytest
from debian_peers import need
from imap_client import ImapClient
from mailbox_chain import RELAYED, MailboxChain
from mailbox_clients import CLIENTS, MailboxClient, mbsync

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

SECTION = (
    b"From: %s\r\nTo: %s\r\nSubject: Offer %d\r\nDate: Tue, 24 Nov 2026 10:00:%02d +0100\r\nMessage-ID: <%s>\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
)
BODY = (
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"a1 OK done\r\n* BYE\r\n.\r\nGr\xc3\xbc\xc3\x9fe {5}\r\n"
    b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
)
END = b"--b--\r\n"
SIZES = (
    100,
    100_000,
    1_000_000,
)  # octets of an attachment: kept in memory, kept in a file, and longer than a TLS record
TUID = re.compile(rb"X-TUID: [^\r]{12}\r\n")  # what mbsync adds to a message that it uploads


def _message(number: int, size: int, *, sender: str, recipient: str) -> tuple[str, bytes]:
    message_id = f"{uuid.uuid4()}@test.example"
    section = SECTION % (sender.encode(), recipient.encode(), number, number, message_id.encode())
    attachment = base64.encodebytes(bytes(range(256)) * (size // 256 + 1)).replace(b"\n", b"\r\n")
    return message_id, section + BODY + attachment + END


async def _fill(mailboxes: MailboxChain, login: str) -> dict[str, bytes]:
    """Puts mail of a contact and of somebody else into INBOX; what is to be logged, by Message-ID."""
    wanted = {}
    for number, size in enumerate(SIZES, start=1):
        message_id, content = _message(number, size, sender="kim@cust.example", recipient=login)
        wanted[message_id] = content
        await mailboxes.dovecot.deliver(login, content)
    _, private = _message(4, 100, sender="stranger@x.example", recipient=login)
    await mailboxes.dovecot.deliver(login, private)
    return wanted


@pytest.mark.parametrize("client", [pytest.param(each, id=each.name) for each in CLIENTS])
async def test_what_is_read_is_logged_octet_by_octet(mailboxes: MailboxChain, client: MailboxClient) -> None:
    need(*client.programs)
    login = await mailboxes.new_login()
    wanted = await _fill(mailboxes, login)
    await client.read(mailboxes.access(RELAYED, login, mechanism=client.mechanisms[0]))
    await mailboxes.served.drained()
    assert mailboxes.logged(login) == {message_id: ("incoming", content) for message_id, content in wanted.items()}


async def test_what_mbsync_fetches_and_uploads_is_logged_once(mailboxes: MailboxChain, tmp_path: Path) -> None:
    """Down, then up, then down again into another folder: each message once."""
    need("mbsync")
    login = await mailboxes.new_login()
    wanted = await _fill(mailboxes, login)
    access = mailboxes.access(RELAYED, login, mechanism="*")
    await mbsync(access, tmp_path / "one")
    sent_id, sent = _message(5, 100, sender=login, recipient="kim@cust.example")
    (tmp_path / "one" / "Sent" / "cur" / "1.test:2,S").write_bytes(sent.replace(b"\r\n", b"\n"))
    await mbsync(access, tmp_path / "one")
    await mbsync(access, tmp_path / "two")
    await mailboxes.served.drained()
    logged = mailboxes.logged(login)
    direction, uploaded = logged.pop(sent_id)
    assert (direction, TUID.sub(b"", uploaded)) == ("outgoing", sent)
    assert logged == {message_id: ("incoming", content) for message_id, content in wanted.items()}


async def test_a_message_in_stretches_is_logged_when_all_of_it_has_come(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    wanted = await _fill(mailboxes, login)
    async with _client(mailboxes) as client:
        await client.begin(login)
        await client.command(b"s SELECT INBOX")
        for number in range(1, len(SIZES) + 1):
            for origin in range(0, 2_000_000, 65536):
                answer = await client.command(b"f UID FETCH %d BODY.PEEK[]<%d.65536>" % (number, origin))
                if b"{65536}" not in answer:
                    break
        await client.command(b"z LOGOUT")
    await mailboxes.served.drained()
    assert mailboxes.logged(login) == {message_id: ("incoming", content) for message_id, content in wanted.items()}


@pytest.mark.parametrize("literal", ["{%d}", "{%d+}"])
async def test_what_is_saved_in_sent_is_logged_and_what_is_a_draft_is_not(
    mailboxes: MailboxChain, literal: str
) -> None:
    login = await mailboxes.new_login()
    sent_id, sent = _message(1, 100_000, sender=login, recipient="kim@cust.example")
    _, draft = _message(2, 100, sender=login, recipient="kim@cust.example")
    async with _client(mailboxes) as client:
        await client.begin(login)
        for mailbox, flags, content in ((b"Sent", b"(\\Seen)", sent), (b"Drafts", b"(\\Draft)", draft)):
            client.send(b"a APPEND %s %s %s\r\n" % (mailbox, flags, (literal % len(content)).encode()))
            if not literal.endswith("+}"):
                await client.until(rb"^\+[^\r\n]*\r\n")
            client.send(content + b"\r\n")
            assert b"a OK" in await client.tagged(b"a")
        await client.command(b"z LOGOUT")
    await mailboxes.served.drained()
    assert mailboxes.logged(login) == {sent_id: ("outgoing", sent)}


async def test_mail_that_arrives_in_idle_is_logged_when_it_is_read(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    message_id, content = _message(1, 100, sender="kim@cust.example", recipient=login)
    async with _client(mailboxes) as client:
        await client.begin(login)
        await client.command(b"s SELECT INBOX")
        await client.go_ahead(b"i IDLE")
        await mailboxes.dovecot.deliver(login, content)
        await client.until(rb"^\* 1 RECENT\r\n")
        client.send(b"DONE\r\nf FETCH 1 BODY[]\r\n")
        await client.tagged(b"f")
        async with asyncio.timeout(60):
            while not mailboxes.logged(login):
                await asyncio.sleep(0.02)
        assert mailboxes.logged(login) == {message_id: ("incoming", content)}
        await client.command(b"z LOGOUT")


async def test_what_no_user_reads_is_not_logged(mailboxes: MailboxChain) -> None:
    login = f"nobody-{uuid.uuid4()}@mailboxes.example"
    before = mailboxes.served.rows("select count(*) from email")
    await _fill(mailboxes, login)
    async with _client(mailboxes) as client:
        await client.begin(login)
        await client.command(b"s SELECT INBOX")
        await client.command(b"f FETCH 1:* BODY[]")
        await client.command(b"z LOGOUT")
    await mailboxes.served.drained()
    assert mailboxes.served.rows("select count(*) from email") == before


def _client(mailboxes: MailboxChain) -> ImapClient:
    return ImapClient(mailboxes.port(RELAYED, "implicit"), context=mailboxes.pki.client_context())
