"""Clients that read mail through onrecord see and do what they see and do straight at Dovecot."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from debian_peers import need
from mailbox_chain import DIRECT, RELAYED, MailboxChain
from mailbox_clients import CLIENTS, MailboxClient, livetest, mbsync, read_maildir

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

BINARY = bytes(range(256)) * 64
WORDS = b"A line of some words, again and again.\r\n"


def _message(number: int, text: bytes) -> bytes:
    return (
        b"From: Kim <kim@cust.example>\r\nTo: ann@acme.example\r\nSubject: Offer %d\r\n"
        b"Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%d@cust.example>\r\n\r\n" % (number, number)
    ) + text


MESSAGES = (
    _message(1, b"Hello\r\n"),
    _message(2, b"a1 OK done\r\n* BYE\r\n+ go\r\n.\r\n* 3 FETCH (BODY[] {100}\r\n"),
    b"From: Kim <kim@cust.example>\r\nTo: ann@acme.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
    b'--b\r\nContent-Type: application/octet-stream; name="{7}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    + base64.encodebytes(BINARY).replace(b"\n", b"\r\n")
    + b"--b--\r\n",
    _message(4, WORDS * 30_000),
)


async def _new_mailboxes(mailboxes: MailboxChain) -> str:
    login = await mailboxes.new_login()
    for content in MESSAGES:
        await mailboxes.dovecot.deliver(login, content)
    await mailboxes.dovecot.remember(login)
    return login


def _pairs() -> list[object]:
    return [
        pytest.param(client, mechanism, door, id=f"{client.name}-{mechanism}-{door}")
        for client in CLIENTS
        for mechanism in client.mechanisms
        for door in ("starttls", "implicit", "routed")
        if client.name != "aioimaplib" or door != "starttls"
    ]


@pytest.mark.parametrize(("client", "mechanism", "door"), _pairs())
async def test_client_sees_and_does_the_same(
    mailboxes: MailboxChain, client: MailboxClient, mechanism: str, door: str
) -> None:
    need(*client.programs)
    login = await _new_mailboxes(mailboxes)
    kept = mailboxes.dovecot.maildir(login)
    seen, left = {}, {}
    for way in (DIRECT, RELAYED):
        await mailboxes.dovecot.restore(login)
        seen[way] = await client.read(mailboxes.access(way, login, door=door, mechanism=mechanism))
        left[way] = read_maildir(kept)
    assert seen[RELAYED] == seen[DIRECT]
    assert left[RELAYED] == left[DIRECT]
    assert "Offer 2" in repr(seen[RELAYED])
    assert left[RELAYED] != read_maildir(kept.parent.with_name(f"{login}.kept") / "Maildir"), "the client did nothing"


@pytest.mark.parametrize("door", ["starttls", "implicit", "routed"])
async def test_mbsync_brings_both_sides_to_the_same_state(mailboxes: MailboxChain, tmp_path: Path, door: str) -> None:
    """Down, then changes on both sides at once, then both ways, then nothing more to do."""
    need("mbsync")
    login = await _new_mailboxes(mailboxes)
    near, far = {}, {}
    for way in (DIRECT, RELAYED):
        await mailboxes.dovecot.restore(login)
        access, folder = mailboxes.access(way, login, door=door, mechanism="*"), tmp_path / way
        await mbsync(access, folder)
        assert sorted(content for _, _, content in read_maildir(folder)) == sorted(_as_kept(MESSAGES))
        await _change_both_sides(mailboxes, login, folder)
        await mbsync(access, folder)
        await mbsync(access, folder)
        near[way], far[way] = read_maildir(folder), read_maildir(mailboxes.dovecot.maildir(login))
    assert near[RELAYED] == near[DIRECT]
    assert far[RELAYED] == far[DIRECT]
    assert sorted(each[1:] for each in near[RELAYED]) == sorted(each[1:] for each in far[RELAYED])
    assert len(far[RELAYED]) == len(MESSAGES) + 50


@pytest.mark.parametrize("door", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
async def test_mbsync_logs_in_by_each_mechanism(
    mailboxes: MailboxChain, tmp_path: Path, mechanism: str, door: str
) -> None:
    """SCRAM takes several steps; each side proves that it knows the password to the other, and not to us."""
    need("mbsync")
    login = await _new_mailboxes(mailboxes)
    await mbsync(mailboxes.access(RELAYED, login, door=door, mechanism=mechanism), tmp_path / "near")
    assert len(read_maildir(tmp_path / "near")) == len(MESSAGES)
    named = f"user=<{login}>, method={'PLAIN' if mechanism == 'LOGIN' else mechanism},"
    async with asyncio.timeout(60):
        while named not in mailboxes.dovecot.log_text():
            await asyncio.sleep(0.02)


async def _change_both_sides(mailboxes: MailboxChain, login: str, folder: Path) -> None:
    """Here one is gone, one was read and 50 are to be sent up; there one is new, and one was flagged."""
    cur = folder / "INBOX" / "cur"
    fresh = folder / "INBOX" / "new"
    by_uid = {
        each.name.partition("U=")[2].partition(":")[0]: each for place in (cur, fresh) for each in place.iterdir()
    }
    by_uid["1"].unlink()
    read = by_uid["2"]
    read.rename(cur / f"{read.name.partition(':')[0]}:2,S")
    sent = folder / "Sent" / "cur"
    for number in range(50):
        (sent / f"{number}.test:2,S").write_bytes(_as_kept([_message(100 + number, WORDS * number)])[0])
    await mailboxes.dovecot.deliver(login, _message(200, b"new\r\n"))
    await mailboxes.dovecot.doveadm("flags", "add", "-u", login, "\\Flagged", "mailbox", "INBOX", "uid", "4")


def _as_kept(messages: tuple[bytes, ...] | list[bytes]) -> list[bytes]:
    """Maildirs keep lines as the system has them."""
    return [each.replace(b"\r\n", b"\n") for each in messages]


@pytest.mark.parametrize("door", ["starttls", "implicit", "routed"])
async def test_the_live_tests_of_imapclient_end_as_without_the_relay(mailboxes: MailboxChain, door: str) -> None:
    accesses = [mailboxes.access(way, await mailboxes.new_login(), door=door) for way in (DIRECT, RELAYED)]
    direct, relayed = await asyncio.gather(*map(livetest, accesses))  # both wait most of the time
    assert relayed == direct
    assert [result for _, result in relayed].count("ok") >= 40
