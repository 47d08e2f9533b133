"""What clients that we did not write move into the folder for the log at Dovecot is logged, and its answers are."""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from debian_peers import need
from imap_client import ImapClient
from mailbox_chain import RELAYED, MailboxChain
from mailbox_clients import MOVERS, MailboxMover, mbsync

from engine.directory import Rule

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

LOG = "Log to CRM"
SECTION = (
    "From: {author}\r\nTo: {to}\r\nSubject: Offer\r\nDate: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <{id}>\r\n"
)


@dataclass(frozen=True)
class Home:
    """A portal of its own that logs replies only, with one user, who has the folder, and one contact."""

    portal: str
    login: str
    contact: str

    def mail(self, *, is_sent: bool = False, more: str = "") -> tuple[str, bytes]:
        """A message between the two, and its id."""
        message_id = f"{uuid.uuid4()}@test.example"
        author, to = (self.login, self.contact) if is_sent else (self.contact, self.login)
        section = SECTION.format(author=author, to=to, id=message_id) + more
        return message_id, section.encode() + b"\r\nGr\xc3\xbc\xc3\x9fe\r\n"


@pytest.fixture
async def home(mailboxes: MailboxChain) -> Home:
    name = uuid.uuid4().hex
    home = Home(f"portal-{name}", f"{name}@mailboxes.example", f"{name}@cust.example")
    await mailboxes.directory.add_portal(home.portal, rule=Rule.REPLIES_ONLY)
    await mailboxes.directory.add_user(home.portal, home.login, connected=[home.login])
    await mailboxes.directory.add_contact(home.portal, home.contact)
    await mailboxes.dovecot.doveadm("mailbox", "create", "-u", home.login, LOG)
    return home


async def _explain(mailboxes: MailboxChain, home: Home, message_id: str) -> str:
    """The first line that the program says of a message."""
    arguments = ("-c", str(mailboxes.served.config), "explain", message_id, "--portal", home.portal)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "onrecord", *arguments,
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().splitlines()[0]


def _reasons(mailboxes: MailboxChain, home: Home) -> list[str]:
    query = (
        "select reason from decision join portal on portal.id = decision.portal where portal.name = ?"
        " order by decision.id"
    )
    return [reason for (reason,) in mailboxes.served.rows(query, home.portal)]


def _client(mailboxes: MailboxChain) -> ImapClient:
    return ImapClient(mailboxes.port(RELAYED, "implicit"), context=mailboxes.pki.client_context())


@pytest.mark.parametrize("mover", [pytest.param(each, id=each.name) for each in MOVERS])
async def test_what_a_client_puts_there_is_logged_and_so_is_the_answer(
    mailboxes: MailboxChain, home: Home, mover: MailboxMover
) -> None:
    need(*mover.programs)
    message_id, content = home.mail(is_sent=True)
    other_id, other = home.mail()
    await mailboxes.dovecot.deliver(home.login, content)
    await mailboxes.dovecot.deliver(home.login, other)
    await mover.move(mailboxes.access(RELAYED, home.login), LOG)
    await mailboxes.served.drained()
    assert mailboxes.logged(home.login) == {message_id: ("outgoing", content)}
    assert sorted(set(_reasons(mailboxes, home))) == ["manual_log", "mode_replies_only"]
    moved = await mailboxes.dovecot.doveadm("fetch", "-u", home.login, "hdr.message-id", "mailbox", LOG)
    assert message_id.encode() in moved
    assert await _explain(mailboxes, home, message_id) == (
        f"Logged: a user asked for it to be logged; attributed to {home.login}, who wrote it."
    )
    answer_id, answer = home.mail(more=f"In-Reply-To: <{message_id}>\r\n")
    await mailboxes.dovecot.deliver(home.login, answer)
    async with _client(mailboxes) as client:
        await client.begin(home.login)
        await client.command(b"s SELECT INBOX")
        await client.command(b"f FETCH 1:* (UID BODY.PEEK[])")
    await mailboxes.served.drained()
    assert mailboxes.logged(home.login) == {
        message_id: ("outgoing", content),
        answer_id: ("incoming", answer),
    }
    assert other_id not in mailboxes.logged(home.login)


async def test_what_a_two_way_client_files_there_is_uploaded_and_logged(
    mailboxes: MailboxChain, home: Home, tmp_path: Path
) -> None:
    """mbsync is told of a message in a local folder, and saves it in the mailbox of that name."""
    need("mbsync")
    access = mailboxes.access(RELAYED, home.login, mechanism="*")
    await mbsync(access, tmp_path / "near")
    message_id, content = home.mail()
    (tmp_path / "near" / LOG / "cur" / "1.test:2,S").write_bytes(content.replace(b"\r\n", b"\n"))
    await mbsync(access, tmp_path / "near")
    await mailboxes.served.drained()
    assert list(mailboxes.logged(home.login)) == [message_id]
    assert _reasons(mailboxes, home) == ["manual_log"]


async def test_what_was_moved_unseen_is_logged_when_a_client_reads_it_there(
    mailboxes: MailboxChain, home: Home
) -> None:
    message_id, content = home.mail()
    await mailboxes.dovecot.deliver(home.login, content)
    async with _client(mailboxes) as client:
        await client.begin(home.login)
        await client.command(b"s SELECT INBOX")
        assert b"m OK" in await client.command(b'm MOVE 1 "Log to CRM"')
        await mailboxes.served.drained()
        assert not mailboxes.logged(home.login)
        await client.command(b't SELECT "Log to CRM"')
        await client.command(b"f FETCH 1 BODY.PEEK[]")
    await mailboxes.served.drained()
    assert mailboxes.logged(home.login) == {message_id: ("incoming", content)}
    assert _reasons(mailboxes, home) == ["manual_log"]


async def test_the_log_keeps_what_is_deleted_in_the_mailbox(mailboxes: MailboxChain, home: Home) -> None:
    message_id, content = home.mail()
    async with _client(mailboxes) as client:
        await client.begin(home.login)
        await client.command(b's SELECT "Log to CRM"')
        client.send(b'a APPEND "Log to CRM" (\\Seen) {%d+}\r\n%s\r\n' % (len(content), content))
        assert b"a OK" in await client.tagged(b"a")
        await client.command(b"d STORE 1:* +FLAGS.SILENT (\\Deleted)")
        assert b"* 1 EXPUNGE" in await client.command(b"e EXPUNGE")
        await client.command(b"z LOGOUT")
    await mailboxes.served.drained()
    assert not await mailboxes.dovecot.doveadm("fetch", "-u", home.login, "uid", "mailbox", LOG)
    assert mailboxes.logged(home.login) == {message_id: ("incoming", content)}
