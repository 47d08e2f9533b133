"""What a client reads and saves through us is in the log, once, and nothing else is (rules.md 3, 5.3, 6.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from mailbox_session import MailboxSession, mail
from recording_provider import RecordingProvider
from smtp_client import Client
from sqlalchemy import select

from engine.directory import Rule
from store import schema

FROM_KIM = mail("Kim <kim@cust.example>", "ann@acme.example", "1@cust.example")
FROM_STRANGER = mail("x@elsewhere.example", "ann@acme.example", "2@elsewhere.example")
TO_KIM = mail("Ann <ann@acme.example>", "kim@cust.example", "3@acme.example")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[InProcess]:
    async with InProcess(tmp_path, [], listeners=()) as node:
        yield node


async def settled(node: InProcess) -> None:
    """Waits until all that was seen has its verdict and is in the log."""
    await node.until(lambda: not node.captures.watched.messages)
    await node.recorded()


async def emails_of(node: InProcess) -> list[Any]:
    await settled(node)
    return await node.emails()


async def sources(node: InProcess) -> list[tuple[int, str]]:
    """Record and path of each capture."""
    table = schema.capture
    async with node.database.read() as connection:
        rows = await connection.execute(select(table.c.email, table.c.source).order_by(table.c.email, table.c.source))
        return [(row.email, row.source) for row in rows]


async def reasons(node: InProcess) -> list[str]:
    await settled(node)
    return [each.reason for each in await node.decisions()]


async def account_of(node: InProcess, email: Any) -> str:
    async with node.database.read() as connection:
        wanted = select(schema.user.c.account).where(schema.user.c.id == email.user)
        return str(await connection.scalar(wanted))


class TestReading:
    async def test_mail_of_a_contact_is_logged(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select()
        session.fetch(5, FROM_KIM)
        (email,) = await emails_of(node)
        assert (email.direction, email.reason, email.attribution) == (
            "incoming", "received_from_contact", "single_recipient"
        )  # fmt: skip
        assert await node.raw(email) == FROM_KIM
        assert await account_of(node, email) == "ann@acme.example"
        assert await sources(node) == [(email.id, "imap_proxy")]
        assert session.to_client.count(FROM_KIM) == 1

    async def test_mail_that_is_read_three_times_is_one_capture(self, node: InProcess) -> None:
        for number in range(3):
            session = MailboxSession(node.captures, session=f"imap-{number}")
            session.select()
            session.fetch(5, FROM_KIM)
            session.fetch(5, FROM_KIM)
            session.close()
            await settled(node)
        assert len(await emails_of(node)) == 1
        assert len(await sources(node)) == 1
        assert await reasons(node) == ["received_from_contact"]
        assert node.captures.counts["captured"] == 2  # the second was read before the first was durable

    @pytest.mark.parametrize("uid", [5, None])
    async def test_mail_that_was_forgotten_is_one_capture_still(self, node: InProcess, uid: int | None) -> None:
        for validity in (7, 8, None):
            session = MailboxSession(node.captures)
            session.select(uidvalidity=validity)
            session.fetch(uid, FROM_KIM)
            session.fetch(uid, FROM_STRANGER)
            await settled(node)
        assert node.captures.counts["captured"] == 3
        assert len(await sources(node)) == 1
        assert sorted(await reasons(node)) == ["no_existing_contact", "received_from_contact"]

    async def test_mail_in_two_mailboxes_is_one_record_of_two_captures(self, node: InProcess) -> None:
        content = mail("lee@cust.example", "ann@acme.example, bob@acme.example", "4@cust.example")
        for login in ("ann@acme.example", "bob@acme.example"):
            session = MailboxSession(node.captures, login)
            session.select()
            session.fetch(5, b"Received: for " + login.encode() + b"\r\n" + content)
        (email,) = await emails_of(node)
        assert await account_of(node, email) == "bob@acme.example"
        assert email.attribution == "contact_owner"
        assert await sources(node) == [(email.id, "imap_proxy")] * 2

    async def test_mail_to_a_list_is_its_reader_s(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select()
        session.fetch(5, mail("kim@cust.example", "friends@cust.example", "5@cust.example"))
        (email,) = await emails_of(node)
        assert email.attribution == "captured_mailbox"
        assert await account_of(node, email) == "ann@acme.example"

    async def test_a_reader_who_spells_the_login_in_capitals_is_the_same(self, node: InProcess) -> None:
        session = MailboxSession(node.captures, "Ann@ACME.example")
        session.select()
        session.fetch(5, FROM_KIM)
        assert len(await emails_of(node)) == 1

    @pytest.mark.parametrize("item", ["RFC822", "BINARY[]", "BODY[]"])
    async def test_it_does_not_matter_how_it_is_read(self, node: InProcess, item: str) -> None:
        session = MailboxSession(node.captures, piece=7)
        session.select()
        session.fetch(5, FROM_KIM, item=item)
        (email,) = await emails_of(node)
        assert await node.raw(email) == FROM_KIM

    async def test_mail_that_is_read_in_stretches_is_whole(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select()
        session.client(b"c UID FETCH 5 (BODY[]<0.100>)\r\nd UID FETCH 5 (BODY[]<100.10000>)\r\n")
        for tag, origin, octets in ((b"c", 0, FROM_KIM[:100]), (b"d", 100, FROM_KIM[100:])):
            session.provider(b"* 1 FETCH (UID 5 BODY[]<%d> {%d}\r\n%b)\r\n" % (origin, len(octets), octets))
            session.provider(tag + b" OK done\r\n")
        (email,) = await emails_of(node)
        assert await node.raw(email) == FROM_KIM

    async def test_a_header_section_alone_is_no_message(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select()
        session.fetch(5, FROM_KIM[: FROM_KIM.index(b"\r\n\r\n") + 4], item="BODY[HEADER]")
        assert not await emails_of(node)
        assert node.captures.counts["header_only"] == 1
        session.fetch(5, FROM_KIM)
        assert len(await emails_of(node)) == 1


class TestNothingElse:
    @pytest.mark.parametrize(
        ("content", "login", "reason"),
        [
            (FROM_STRANGER, "ann@acme.example", "no_existing_contact"),
            (mail("v@secret.example", "ann@acme.example", "1@s"), "ann@acme.example", "no_existing_contact"),
            (mail("bob@acme.example", "ann@acme.example", "1@b"), "ann@acme.example", "internal_only"),
            (mail("kim@cust.example", "dee@acme.example", "1@d"), "dee@acme.example", "user_no_permission"),
            (mail("kim@cust.example", "eve@acme.example", "1@e"), "eve@acme.example", "user_inactive"),
            (
                mail("kim@cust.example", "list@x.example", "1@l", more="List-Id: <list.x.example>\r\n"),
                "ann@acme.example",
                "list_mail",
            ),
            (
                mail("kim@cust.example", "ann@acme.example", "1@k", more="Content-Type: multipart/report\r\n"),
                "ann@acme.example",
                "bounce",
            ),
        ],
    )
    async def test_a_note_is_left_of_what_is_not_logged(
        self, node: InProcess, content: bytes, login: str, reason: str
    ) -> None:
        session = MailboxSession(node.captures, login)
        session.select()
        session.fetch(5, content)
        session.fetch(5, content)
        assert await reasons(node) == [reason]
        assert not await emails_of(node)
        assert _nothing_kept(node)

    async def test_a_contact_on_never_log_is_not_logged(self, node: InProcess) -> None:
        await node.directory.add_never_log("P1", "kim@cust.example")
        session = MailboxSession(node.captures)
        session.select()
        session.fetch(5, FROM_KIM)
        session.append("Sent", TO_KIM)
        assert await reasons(node) == ["all_contacts_never_log"] * 2
        assert _nothing_kept(node)

    async def test_what_was_skipped_stays_so_when_it_is_read_again(self, node: InProcess) -> None:
        content = mail("new@cust.example", "ann@acme.example", "6@cust.example")
        for validity in (7, 8):
            session = MailboxSession(node.captures)
            session.select(uidvalidity=validity)
            session.fetch(5, content)
            assert await reasons(node) == ["no_existing_contact"]
            await node.directory.add_contact("P1", f"new{'' if validity == 7 else 2}@cust.example")
        assert not await emails_of(node)

    @pytest.mark.parametrize(
        ("name", "use", "reason"),
        [
            ("Entw", "Drafts", "draft"),
            ("Unfug", "Junk", "spam_folder"),
            ("Weg", "Trash", "spam_folder"),
            ("Drafts", None, "draft"),
            ("[Gmail]/Spam", None, "spam_folder"),
            ("INBOX.Papierkorb.2026", None, "spam_folder"),
        ],
    )
    async def test_drafts_junk_and_trash_are_no_correspondence(
        self, node: InProcess, name: str, use: str | None, reason: str
    ) -> None:
        session = MailboxSession(node.captures)
        if use is not None:
            session.list(name, use)
        session.select(name)
        session.fetch(5, FROM_KIM)
        session.append(name, TO_KIM)
        assert await reasons(node) == [reason] * 2
        assert _nothing_kept(node)

    async def test_a_draft_is_one_by_its_flag_wherever_it_lies(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.append("Work", TO_KIM, flags="\\Seen \\Draft")
        session.select("Work")
        session.fetch(9, TO_KIM, flags="\\Draft")
        assert await reasons(node) == ["draft"]
        session.append("Sent", TO_KIM)
        assert len(await emails_of(node)) == 1

    async def test_mail_that_is_moved_out_of_junk_is_logged(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select("Junk")
        session.fetch(5, FROM_KIM)
        assert not await emails_of(node)
        session.select("INBOX")
        session.fetch(9, FROM_KIM)
        assert len(await emails_of(node)) == 1
        assert await reasons(node) == ["spam_folder", "received_from_contact"]

    async def test_a_message_that_the_provider_did_not_take_was_not_saved(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.append("Sent", TO_KIM, ok=False)
        session.client(b'e APPEND "Sent" {1000+}\r\n' + TO_KIM)
        session.close()
        assert not await reasons(node)
        assert _nothing_kept(node)

    async def test_an_unknown_login_is_not_watched(self, node: InProcess) -> None:
        session = MailboxSession(node.captures, "nobody@acme.example")
        session.select()
        session.fetch(5, FROM_KIM)  # before the directory could answer
        await settled(node)
        assert node.captures.counts["unconcerned"] == 1
        session.fetch(6, FROM_KIM)
        session.fetch(7, FROM_KIM)
        assert not await reasons(node)
        assert node.captures.counts["unobservable"] == 1
        assert [each["reason"] for each in node.log if "reason" in each] == ["unknown_login"]
        assert _nothing_kept(node)


class TestSaving:
    async def test_sent_mail_is_logged(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.append("Sent", TO_KIM)
        (email,) = await emails_of(node)
        assert (email.direction, email.reason, email.attribution) == ("outgoing", "sent_to_contact", "author")
        assert "unauthenticated" not in email.flags
        assert await node.raw(email) == TO_KIM

    @pytest.mark.parametrize("relay_first", [True, False])
    async def test_sent_mail_joins_the_relay_s_record(self, tmp_path: Path, relay_first: bool) -> None:
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as node:
            session = MailboxSession(node.captures)
            if not relay_first:
                session.append("Sent", TO_KIM)
                assert len(await emails_of(node)) == 1
            async with Client(node.port) as client:
                await client.begin("ann@acme.example")
                assert (await client.submit(TO_KIM, b"kim@cust.example", sender=b"ann@acme.example"))[:3] == b"250"
            if relay_first:
                assert len(await emails_of(node)) == 1
                session.append("Sent", TO_KIM)
            session.select("Sent")
            session.fetch(5, TO_KIM)
            (email,) = await emails_of(node)
            assert await sources(node) == [(email.id, "imap_proxy"), (email.id, "relay")]
            assert (email.direction, email.attribution) == ("outgoing", "author")

    async def test_several_messages_of_one_command_are_each_logged(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        other = mail("ann@acme.example", "lee@cust.example", "7@acme.example")
        session.client(b"e APPEND Sent {%d+}\r\n%b {%d+}\r\n%b\r\n" % (len(TO_KIM), TO_KIM, len(other), other))
        session.provider(b"e OK [APPENDUID 7 8:9] done\r\n")
        assert [await node.raw(each) for each in await emails_of(node)] == [TO_KIM, other]


class TestRepliesOnly:
    async def test_only_answers_to_what_was_logged_are(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider], rule=Rule.REPLIES_ONLY) as node:
            async with Client(node.port) as client:
                await client.begin("ann@acme.example")
                sender = b"ann@acme.example"
                recipients = (b"kim@cust.example", b"log-p1@cap.example")
                assert (await client.submit(TO_KIM, *recipients, sender=sender)).startswith(b"250")
            session = MailboxSession(node.captures)
            session.select()
            session.fetch(5, FROM_KIM)
            answer = mail(
                "kim@cust.example", "ann@acme.example", "8@c.example", more="In-Reply-To: <3@acme.example>\r\n"
            )
            await settled(node)
            session.fetch(6, answer)
            emails = await emails_of(node)
            assert [each.reason for each in emails] == ["bcc_address", "reply_to_logged"]
            assert sorted(await reasons(node)) == ["bcc_address", "mode_replies_only", "reply_to_logged"]

    async def test_an_answer_that_is_read_before_its_parent_is_saved_is_logged_then(self, tmp_path: Path) -> None:
        async with InProcess(tmp_path, [], listeners=()) as node:
            answer = mail(
                "p@elsewhere.example", "ann@acme.example", "8@c.example", more="In-Reply-To: <3@acme.example>\r\n"
            )
            session = MailboxSession(node.captures)
            session.select()
            session.fetch(6, answer)
            assert await reasons(node) == ["pending_parent"]
            session.append("Sent", TO_KIM)
            emails = await emails_of(node)
            assert [each.reason for each in emails] == ["sent_to_contact", "reply_to_logged"]
            assert await node.raw(emails[1]) == answer


def _nothing_kept(node: InProcess) -> bool:
    """Whether no session holds anything, and no content lies in the spool."""
    held = node.captures.watched
    return held.messages == held.octets == 0 and not list((node.folder / "spool").rglob("*.content"))
