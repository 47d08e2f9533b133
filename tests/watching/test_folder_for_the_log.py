"""What a client puts into the folder for the log is logged by hand, as far as its octets are here (rules.md 7.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from in_process import InProcess
from mailbox_session import MailboxSession, mail
from recording_provider import RecordingProvider
from smtp_client import Client
from sqlalchemy import select

from engine.directory import Answer, Question, Rule
from proxy.recent import MOST_OCTETS
from store import schema

FROM_KIM = mail("Kim <kim@cust.example>", "ann@acme.example", "1@cust.example")
FROM_STRANGER = mail("x@elsewhere.example", "ann@acme.example", "2@elsewhere.example")
TO_KIM = mail("Ann <ann@acme.example>", "kim@cust.example", "3@acme.example")
LOG = "Log to CRM"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[InProcess]:
    """A portal that logs replies only, so that nothing here is logged by itself."""
    async with InProcess(tmp_path, [], listeners=(), rule=Rule.REPLIES_ONLY) as node:
        yield node


async def settled(node: InProcess) -> None:
    await node.until(lambda: not node.captures.watched.messages)
    await node.recorded()


async def reasons(node: InProcess) -> list[str]:
    await settled(node)
    return [each.reason for each in await node.decisions()]


async def sources(node: InProcess) -> list[str]:
    await settled(node)
    async with node.database.read() as connection:
        return sorted((await connection.scalars(select(schema.capture.c.source))).all())


def move(session: MailboxSession, uids: str, told: str | None, *, verb: str = "UID MOVE", name: str = LOG) -> None:
    """The client puts messages into a folder. `told` is what the provider says of it (RFC 4315 §3)."""
    session.client(f'm {verb} {uids} "{name}"\r\n'.encode())
    code = f"[COPYUID 12 {told}] " if told is not None else ""
    if "MOVE" in verb and told is not None:
        session.provider(f"* OK {code}moved\r\n* 1 EXPUNGE\r\nm OK done\r\n".encode())
    else:
        session.provider(f"m OK {code}done\r\n".encode())


async def read(
    node: InProcess, content: bytes, *, uid: int = 5, session: MailboxSession | None = None
) -> MailboxSession:
    session = session or MailboxSession(node.captures)
    session.select()
    session.fetch(uid, content)
    await settled(node)
    return session


class TestMoving:
    @pytest.mark.parametrize("verb", ["UID MOVE", "UID COPY", "MOVE", "COPY"])
    async def test_what_was_read_in_the_session_is_logged(self, node: InProcess, verb: str) -> None:
        session = await read(node, FROM_KIM)
        assert await reasons(node) == ["mode_replies_only"]
        move(session, "5" if "UID" in verb else "1", "5 1", verb=verb)
        assert await reasons(node) == ["mode_replies_only", "manual_log"]
        (email,) = await node.emails()
        assert (email.reason, email.direction, email.attribution) == ("manual_log", "incoming", "single_recipient")
        assert await node.raw(email) == FROM_KIM
        assert await sources(node) == ["imap_proxy", "manual"]
        assert node.captures.counts["unobservable"] == 0

    @pytest.mark.parametrize("name", ["log TO crm", "INBOX.Log to CRM", "INBOX/Log to CRM", "Work\\\\\\\\Log to CRM"])
    async def test_the_folder_may_lie_anywhere(self, node: InProcess, name: str) -> None:
        move(await read(node, FROM_KIM), "5", "5 1", name=name)
        assert await reasons(node) == ["mode_replies_only", "manual_log"]

    @pytest.mark.parametrize("name", ["Archive", "Log to CRM old", "Trash/Log to CRM", "My Log to CRM"])
    async def test_another_folder_asks_for_nothing(self, node: InProcess, name: str) -> None:
        move(await read(node, FROM_KIM), "5", "5 1", name=name)
        assert await reasons(node) == ["mode_replies_only"]
        assert node.captures.counts["unobservable"] == 0

    async def test_the_name_is_the_administrator_s_and_may_be_written_in_any_language(self, node: InProcess) -> None:
        node.captures.log_folder = "Für die Akte"
        session = await read(node, FROM_KIM)
        move(session, "5", "5 1")
        assert await reasons(node) == ["mode_replies_only"]
        move(session, "5", "5 1", name="INBOX.F&APw-r die Akte")
        assert await reasons(node) == ["mode_replies_only", "manual_log"]

    async def test_without_a_name_there_is_no_such_folder_and_nothing_is_held(self, node: InProcess) -> None:
        node.captures.log_folder = ""
        session = await read(node, FROM_KIM)
        move(session, "5", "5 1")
        assert await reasons(node) == ["mode_replies_only"]
        assert node.captures.recent.octets == 0

    async def test_what_the_provider_refuses_is_not_logged(self, node: InProcess) -> None:
        session = await read(node, FROM_KIM)
        session.client(b'm UID MOVE 5 "Log to CRM"\r\n')
        session.provider(b"m NO [TRYCREATE] there is no such folder\r\n")
        assert await reasons(node) == ["mode_replies_only"]

    async def test_it_need_not_be_the_connection_it_was_read_on(self, node: InProcess) -> None:
        await read(node, FROM_KIM)
        other = MailboxSession(node.captures, session="imap-2")
        other.select()
        move(other, "5", "5 1")
        assert await reasons(node) == ["mode_replies_only", "manual_log"]

    async def test_several_are_each_logged(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        contents = [mail("kim@cust.example", "ann@acme.example", f"{n}@cust.example", subject=f"{n}") for n in range(4)]
        for uid, content in enumerate(contents, start=5):
            await read(node, content, uid=uid, session=session)
        move(session, "5:7", "5:7 21:23")
        assert await reasons(node) == ["mode_replies_only"] * 4 + ["manual_log"] * 3
        assert [await node.raw(each) for each in await node.emails()] == contents[:3]

    async def test_mail_in_junk_is_logged_when_somebody_asks_for_it(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select("Junk")
        session.fetch(5, FROM_KIM)
        await settled(node)
        move(session, "5", "5 1")
        assert await reasons(node) == ["spam_folder", "manual_log"]

    async def test_a_draft_is_none_there_either(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.select()
        session.fetch(5, TO_KIM, flags="\\Draft")
        await settled(node)
        move(session, "5", "5 1")
        session.append(LOG, TO_KIM, flags="\\Draft")
        assert set(await reasons(node)) == {"draft"}

    @pytest.mark.parametrize("closes", [False, True], ids=["goes on", "is over"])
    async def test_what_waits_for_its_verdict_is_logged_when_it_is_there(
        self, node: InProcess, monkeypatch: pytest.MonkeyPatch, closes: bool
    ) -> None:
        gate, ask = asyncio.Event(), node.captures.directory.ask

        async def wait(question: Question) -> tuple[Answer, ...]:
            await gate.wait()
            return await ask(question)

        monkeypatch.setattr(node.captures.directory, "ask", wait)
        session = MailboxSession(node.captures)
        session.select()
        session.fetch(5, FROM_KIM)
        session.fetch(6, FROM_STRANGER)
        move(session, "5:6", "5:6 1:2")
        counted_before = node.captures.counts["unobservable"]
        if closes:
            session.close()
        gate.set()
        assert counted_before == 0
        assert sorted(await reasons(node)) == ["manual_log", "mode_replies_only", "no_existing_contact"]
        assert node.captures.counts["unobservable"] == 1  # the stranger's
        assert (node.captures.recent.octets == 0) == closes


class TestSaving:
    async def test_what_is_saved_there_is_logged(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.append(LOG, TO_KIM)
        assert await reasons(node) == ["manual_log"]
        assert node.captures.recent.octets == 0  # nobody will ask for it again
        (email,) = await node.emails()
        assert (email.direction, email.attribution) == ("outgoing", "author")
        assert "unauthenticated" not in email.flags

    async def test_what_is_read_there_is_logged_once(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.append(LOG, TO_KIM, uid=5)
        await settled(node)
        for _ in range(2):
            session.select(LOG)
            session.fetch(5, TO_KIM)
            session.close()
            assert await reasons(node) == ["manual_log"]
            session = MailboxSession(node.captures)

    async def test_what_was_moved_there_and_is_read_there_is_one_capture(self, node: InProcess) -> None:
        session = await read(node, FROM_KIM)
        move(session, "5", "5 1")
        await settled(node)
        node.captures.seen = type(node.captures.seen)()
        session.select(LOG, uidvalidity=12)
        session.fetch(1, FROM_KIM)
        assert await reasons(node) == ["mode_replies_only", "manual_log"]

    async def test_the_saved_copy_of_sent_mail_can_be_moved_there(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.append("Sent", TO_KIM, uid=8)
        await settled(node)
        session.select("Sent", uidvalidity=7)
        move(session, "8", "8 1")
        assert await reasons(node) == ["mode_replies_only", "manual_log"]


class TestThreads:
    async def test_answers_to_what_was_logged_by_hand_are_logged(self, tmp_path: Path) -> None:
        """What the relay skipped is logged by hand out of Sent; from then on the contact's answers are."""
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], rule=Rule.REPLIES_ONLY) as node,
        ):
            async with Client(node.port) as client:
                await client.begin("ann@acme.example")
                sender = b"ann@acme.example"
                assert (await client.submit(TO_KIM, b"kim@cust.example", sender=sender)).startswith(b"250")
            session = MailboxSession(node.captures)
            session.append("Sent", TO_KIM, uid=8)
            assert set(await reasons(node)) == {"mode_replies_only"}
            session.select("Sent", uidvalidity=7)
            move(session, "8", "8 1")
            await settled(node)
            answer = mail(
                "kim@cust.example", "ann@acme.example", "4@cust.example", more="In-Reply-To: <3@acme.example>\r\n"
            )
            await read(node, answer, session=session)
            assert [each.reason for each in await node.emails()] == ["manual_log", "reply_to_logged"]
            assert [each.attribution for each in await node.emails()] == ["author", "parent"]

    async def test_what_the_rule_logged_gains_a_capture_and_is_the_same_record(self, tmp_path: Path) -> None:
        async with InProcess(tmp_path, [], listeners=()) as node:
            session = await read(node, FROM_KIM)
            (before,) = await node.emails()
            move(session, "5", "5 1")
            await settled(node)
            (after,) = await node.emails()
            assert (after.reason, after.user, after.attribution) == (before.reason, before.user, before.attribution)
            assert await sources(node) == ["imap_proxy", "imap_proxy", "manual"]


class TestAskingAgain:
    async def test_what_had_no_contact_is_logged_when_it_is_moved_once_more(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        session.append(LOG, FROM_STRANGER, uid=5)
        assert await reasons(node) == ["no_existing_contact"]
        await node.directory.add_contact("P1", "x@elsewhere.example")
        session.select(LOG)
        session.fetch(5, FROM_STRANGER)
        assert await reasons(node) == ["no_existing_contact"]
        session.append(LOG, FROM_STRANGER, uid=6)
        assert await reasons(node) == ["no_existing_contact", "manual_log"]

    async def test_who_has_given_no_access_is_refused(self, node: InProcess) -> None:
        session = MailboxSession(node.captures, "dee@acme.example")
        session.append(LOG, mail("kim@cust.example", "dee@acme.example", "5@c"))
        assert await reasons(node) == ["user_no_permission"]


class TestOutOfReach:
    @pytest.mark.parametrize(
        ("asked", "told", "verb"),
        [
            ("9", "9 1", "UID MOVE"),  # never read here
            ("1", None, "COPY"),  # nobody says which it is
            ("1:*", None, "UID COPY"),
            ("5:4294967295", "5:4294967295 1:4294967291", "UID COPY"),
        ],
    )
    async def test_what_cannot_be_told_is_counted_and_said_once(
        self, node: InProcess, asked: str, told: str | None, verb: str
    ) -> None:
        session = await read(node, FROM_STRANGER)
        for _ in range(2):
            move(session, asked, told, verb=verb)
        assert node.captures.counts["unobservable"] == 2
        assert [each["reason"] for each in node.log if "reason" in each] == ["copied_to_log"]

    async def test_what_is_found_of_a_command_is_logged_and_the_rest_counted(self, node: InProcess) -> None:
        session = await read(node, FROM_KIM)
        move(session, "4:5", "4:5 1:2")
        assert await reasons(node) == ["mode_replies_only", "manual_log"]
        assert node.captures.counts["unobservable"] == 1

    async def test_without_uids_of_the_provider_those_of_the_command_do(self, node: InProcess) -> None:
        move(await read(node, FROM_KIM), "5", None, verb="UID COPY")
        assert await reasons(node) == ["mode_replies_only", "manual_log"]

    async def test_a_large_message_is_not_held(self, node: InProcess) -> None:
        """Nor is it ever in a file: nobody has asked for it when it passes."""
        session = MailboxSession(node.captures)
        await read(node, FROM_KIM, uid=4, session=session)  # what decides is at hand
        size, block = 4 * node.limits.capture_memory, b"x" * 16384
        session.provider(b"* 1 FETCH (UID 5 BODY[] {%d}\r\n%b" % (len(FROM_KIM) + size, FROM_KIM))
        for _ in range(size // len(block)):
            session.provider(block)
            assert not list((node.folder / "spool").rglob("*.content"))
        session.provider(b")\r\n")
        move(session, "5", "5 1")
        assert await reasons(node) == ["mode_replies_only"] * 2
        assert node.captures.counts["unobservable"] == 1


class TestHolding:
    async def test_nothing_is_held_that_asking_would_not_log(self, node: InProcess) -> None:
        session = MailboxSession(node.captures)
        for uid, content in enumerate(
            [
                FROM_STRANGER,
                mail("bob@acme.example", "ann@acme.example", "6@a"),
                mail("v@secret.example", "ann@acme.example", "7@s"),
            ]
        ):
            await read(node, content, uid=uid + 1, session=session)
        assert node.captures.recent.octets == 0

    async def test_nothing_is_held_when_the_last_session_of_the_login_is_over(self, node: InProcess) -> None:
        session, other = await read(node, FROM_KIM), MailboxSession(node.captures, session="imap-2")
        assert node.captures.recent.octets > len(FROM_KIM)
        session.close()
        assert node.captures.recent.octets > len(FROM_KIM)
        other.close()
        other.close()
        assert node.captures.recent.octets == 0
        again = MailboxSession(node.captures, session="imap-3")
        await read(node, FROM_KIM, session=again)
        move(again, "5", "5 1")
        assert await reasons(node) == ["mode_replies_only", "manual_log"]

    async def test_a_mailbox_that_is_read_from_end_to_end_takes_no_more_than_is_meant_for_it(
        self, node: InProcess
    ) -> None:
        session = MailboxSession(node.captures, keep=False)
        session.select()
        body = b"x" * 100_000
        for uid in range(1, 101):
            session.fetch(uid, mail("kim@cust.example", "ann@acme.example", f"{uid}@c", body=body))
            await node.until(lambda: not node.captures.watched.messages)
            assert node.captures.recent.octets <= MOST_OCTETS
        move(session, "1,100", "1,100 1,2")
        assert node.captures.counts["unobservable"] == 1
        assert (await reasons(node)).count("manual_log") == 1
        assert not list((node.folder / "spool").rglob("*.content"))

    async def test_what_was_forgotten_is_taken_when_it_is_read_again(
        self, node: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(node.captures.recent, "_most", 1000)
        session = await read(node, FROM_KIM)
        await read(node, mail("lee@cust.example", "ann@acme.example", "8@c"), uid=6, session=session)
        await read(node, FROM_KIM, session=session)
        move(session, "5", "5 1")
        assert (await reasons(node)).count("manual_log") == 1
        assert node.captures.counts["unobservable"] == 0

    async def test_the_client_and_the_provider_get_every_octet(self, node: InProcess) -> None:
        session = await read(node, FROM_KIM)
        sent, got = len(session.to_provider), len(session.to_client)
        move(session, "5", "5 1")
        assert session.to_provider[sent:] == b'm UID MOVE 5 "Log to CRM"\r\n'
        assert session.to_client[got:] == b"* OK [COPYUID 12 5 1] moved\r\n* 1 EXPUNGE\r\nm OK done\r\n"
