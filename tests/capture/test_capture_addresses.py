"""Capture addresses in a mail client's session: ours to accept, nobody else's to know (rules.md 7.1)."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from recording_provider import Conversation, RecordingProvider
from smtp_client import Client
from sqlalchemy import event

from engine.directory import Rule
from proxy.limits import CapturePolicy, Limits
from store.capture_address import capture_bell

BCC, FORWARD = b"log-p1@cap.example", b"fwd-p1@cap.example"
KIM, LEE = b"kim@cust.example", b"lee@cust.example"
HEADER = (
    b"From: ann@acme.example\r\nTo: kim@cust.example\r\n"
    b"Date: Tue, 3 Feb 2026 10:00:00 +0000\r\nMessage-ID: <1@acme.example>\r\nSubject: x\r\n"
)
MAIL = HEADER + b"\r\nhello\r\n..\r\n"
CONTENT = HEADER + b"\r\nhello\r\n.\r\n"
LOGGED = b"250 2.6.0 Taken for the log\r\n"
NOT_LOGGED = b"451 4.3.0 The message cannot be recorded now; try again later\r\n"


def group(*recipients: bytes, ending: bytes = b"DATA\r\n") -> bytes:
    """A transaction in one go (RFC 2920 §3.1)."""
    lines = [b"MAIL FROM:<ann@acme.example>\r\n", *(b"RCPT TO:<" + each + b">\r\n" for each in recipients), ending]
    return b"".join(lines)


def break_spool(relay: InProcess) -> Path:
    """Nothing can be made durable until the file that is returned is gone."""
    folder = relay.folder / "spool"
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be")
    return folder


async def noted(relay: InProcess) -> list[Any]:
    """The gaps, once there are any: what nobody waits for is written when the disk takes it again."""
    async with asyncio.timeout(20):
        while not (found := await relay.gaps()):
            await asyncio.sleep(0.01)
    return found


@contextmanager
def queries(relay: InProcess) -> Iterator[list[str]]:
    """The statements that the store is asked within."""
    said: list[str] = []

    def hear(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        said.append(statement)

    target = relay.database.pool.sync_engine
    event.listen(target, "before_cursor_execute", hear)
    yield said
    event.remove(target, "before_cursor_execute", hear)


class TestSentToOthersToo:
    @pytest.mark.parametrize("rule", list(Rule))
    async def test_the_provider_gets_the_same_octets_for_everybody_else(self, tmp_path: Path, rule: Rule) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], rule=rule) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            answer = await client.submit(MAIL, BCC, KIM, LEE, FORWARD)
            assert answer == b"250 2.0.0 taken as 1\r\n"
            (message,) = provider.messages
            assert message.forward_paths == [KIM, LEE]
            assert message.mail_data == MAIL
            assert b"cap.example" not in b"".join(provider.commands)
            (email,) = await relay.emails()
            assert await relay.raw(email) == CONTENT

    async def test_in_one_go_replies_come_in_turn(self, tmp_path: Path) -> None:
        verdicts = {KIM: b"550 5.1.1 no Kim\r\n", LEE: b"250 2.1.5 Lee\r\n"}
        async with (
            RecordingProvider(verdicts=verdicts) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(group(BCC, KIM, FORWARD, BCC, LEE))
            answers = await client.replies(7)
            assert [each[:9] for each in answers] == [
                b"250 2.1.0", b"250 2.1.5", b"550 5.1.1", b"250 2.1.5", b"250 2.1.5", b"250 2.1.5", answers[-1][:9],
            ]  # fmt: skip
            assert answers[5] == verdicts[LEE]
            assert answers[6].startswith(b"354")
            assert (await client.say(MAIL + b".\r\n")).startswith(b"250 2.0.0 taken")
            (message,) = provider.messages
            assert message.forward_paths == [LEE]

    async def test_in_chunks(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(group(KIM, BCC, ending=b"BDAT %d LAST\r\n" % len(CONTENT)) + CONTENT)
            assert [each[:9] for each in await client.replies(4)] == [
                b"250 2.1.0", b"250 2.1.5", b"250 2.1.5", b"250 2.0.0"
            ]  # fmt: skip
            (message,) = provider.messages
            assert (message.forward_paths, message.mail_data) == ([KIM], CONTENT)
            (email,) = await relay.emails()
            assert await relay.raw(email) == CONTENT

    @pytest.mark.parametrize("policy", list(CapturePolicy))
    async def test_what_the_provider_refuses_is_not_logged(self, tmp_path: Path, policy: CapturePolicy) -> None:
        async with (
            RecordingProvider(replies={"end of data": b"554 5.7.1 spam\r\n"}) as provider,
            InProcess(tmp_path, [provider], policy=policy) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert await client.submit(MAIL, KIM, BCC) == b"554 5.7.1 spam\r\n"
            assert await relay.emails() == []
            assert [each.value["reason"] for each in await relay.decisions()] == ["not_delivered"]

    async def test_a_spool_that_fails_leaves_a_gap_and_the_providers_reply(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            broken = break_spool(relay)
            assert (await client.submit(MAIL, KIM, BCC)).startswith(b"250 2.0.0 taken")
            broken.unlink()
            assert [each.kind for each in await noted(relay)] == ["capture_failed"]

    async def test_under_policy_closed_a_spool_that_fails_keeps_it_from_everybody(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            broken = break_spool(relay)
            assert await client.submit(MAIL, KIM, BCC) == NOT_LOGGED
            await provider.until_idle()
            assert provider.messages == []
            broken.unlink()
            assert await relay.emails() == []
            assert await relay.decisions() == []

    async def test_under_policy_closed_it_is_recorded_once(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], policy=CapturePolicy.CLOSED) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert (await client.submit(MAIL, KIM, BCC)).startswith(b"250 2.0.0 taken")
            assert len(await relay.emails()) == 1
            assert [each.value["reason"] for each in await relay.decisions()] == ["bcc_address"]

    @pytest.mark.parametrize("policy", list(CapturePolicy))
    async def test_a_provider_lost_before_its_reply_leaves_a_gap_that_the_next_try_closes(
        self, tmp_path: Path, policy: CapturePolicy
    ) -> None:
        async def hang_up(conversation: Conversation, line: bytes) -> bytes:
            assert conversation.transport is not None
            conversation.transport.abort()
            return b""

        replies = {"end of data": hang_up}
        async with (
            RecordingProvider(replies=replies) as provider,
            InProcess(tmp_path, [provider], policy=policy) as relay,
        ):
            async with Client(relay.port) as client:
                await client.begin()
                assert (await client.submit(MAIL, KIM, BCC)).startswith(b"451 4.4.2 ")
            (gap,) = await noted(relay)
            assert (gap.kind, gap.closed_at) == ("outcome_unknown", None)
            provider.replies.clear()
            async with Client(relay.port) as client:
                await client.begin()
                assert (await client.submit(MAIL, KIM, BCC)).startswith(b"250")
            assert len(await relay.emails()) == 1
            (gap,) = await relay.gaps()
            assert gap.closed_at is not None

    async def test_a_client_that_dies_has_sent_nothing_to_anybody(self, tmp_path: Path) -> None:
        for policy in CapturePolicy:
            folder = tmp_path / policy
            folder.mkdir()
            async with (
                RecordingProvider() as provider,
                InProcess(folder, [provider], policy=policy) as relay,
                Client(relay.port) as client,
            ):
                await client.begin()
                await client.address(KIM, BCC)
                await client.say(b"DATA\r\n")
                client.send(MAIL)
                await relay.heard(client.sent)
                client.reset()
                await relay.until_idle()
                await provider.until_idle()
                assert provider.messages == []
                assert await relay.emails() == []
                assert await relay.decisions() == []


class TestSentToTheLogAlone:
    @pytest.mark.parametrize("rule", list(Rule))
    async def test_there_is_no_message_at_the_provider(self, tmp_path: Path, rule: Rule) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], rule=rule) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert await client.submit(MAIL, BCC) == LOGGED
            assert provider.commands[-2:] == [b"MAIL FROM:<ann@acme.example>\r\n", b"RSET\r\n"]
            assert provider.mail_data_begun == 0
            assert provider.messages == []
            (email,) = await relay.emails()
            assert await relay.raw(email) == CONTENT
            (decision,) = await relay.decisions()
            assert (decision.value["reason"], decision.value["source"]) == ("bcc_address", "bcc")
            assert decision.value["user"][1] == "ann@acme.example"

    async def test_the_session_goes_on(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert await client.submit(MAIL, BCC) == LOGGED
            assert (await client.submit(MAIL, KIM)).startswith(b"250 2.0.0 taken as 1")
            assert await client.submit(MAIL, BCC) == LOGGED
            assert len(provider.messages) == 1
            assert len(await relay.emails()) == 1  # one message, whatever the ways it was captured

    async def test_in_one_go_with_what_follows(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(group(BCC) + MAIL + b".\r\n" + group(KIM))
            answers = await client.replies(7)
            assert [each[:9] for each in answers[:2]] == [b"250 2.1.0", b"250 2.1.5"]
            assert answers[2].startswith(b"354")
            assert answers[3] == LOGGED
            assert answers[6].startswith(b"354")
            assert (await client.say(MAIL + b".\r\n")).startswith(b"250 2.0.0 taken")
            assert [each.forward_paths for each in provider.messages] == [[KIM]]
            assert len(await relay.emails()) == 1

    async def test_in_chunks(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            first, last = CONTENT[:40], CONTENT[40:]
            chunks = b"BDAT 40\r\n" + first + b"BDAT %d\r\n" % len(last) + last + b"BDAT 0 LAST\r\n"
            client.send(group(BCC, ending=chunks))
            assert [each[:9] for each in await client.replies(5)] == [
                b"250 2.1.0", b"250 2.1.5", b"250 2.0.0", b"250 2.0.0", b"250 2.6.0"
            ]  # fmt: skip
            assert b"BDAT" not in provider.verbs
            (email,) = await relay.emails()
            assert await relay.raw(email) == CONTENT

    async def test_fields_that_a_submission_lacks_are_added(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            assert await client.submit(b"From: ann@acme.example\r\nTo: kim@cust.example\r\n\r\nx\r\n", BCC) == LOGGED
            (email,) = await relay.emails()
            raw = await relay.raw(email)
            assert b"\r\nDate: " in raw
            assert b"@relay.example>\r\n\r\nx\r\n" in raw

    async def test_large_mail_goes_through_a_file(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], limits=Limits(capture_memory=1000)) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            mail = MAIL + (b"x" * 76 + b"\r\n") * 10_000
            assert await client.submit(mail, BCC) == LOGGED
            assert len(list((tmp_path / "spool").glob("*/*"))) > 2
            (email,) = await relay.emails()
            assert await relay.raw(email) == mail.replace(b"\r\n..", b"\r\n.")

    @pytest.mark.parametrize("policy", list(CapturePolicy))
    @pytest.mark.parametrize("mail", [MAIL, MAIL + (b"x" * 76 + b"\r\n") * 3000], ids=["small", "large"])
    async def test_what_cannot_be_made_durable_is_refused_for_now(
        self, tmp_path: Path, policy: CapturePolicy, mail: bytes
    ) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], policy=policy) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            broken = break_spool(relay)
            assert await client.submit(mail, BCC) == NOT_LOGGED
            broken.unlink()
            assert await relay.emails() == []
            assert await relay.gaps() == []  # the client has it still
            assert await client.submit(mail, BCC) == LOGGED
            assert len(await relay.emails()) == 1
            assert provider.messages == []

    async def test_when_nobody_else_is_accepted_it_was_not_delivered(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(verdicts={KIM: b"550 5.1.1 no Kim\r\n"}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            client.send(group(KIM, BCC))
            assert [each[:3] for each in await client.replies(4)] == [b"250", b"550", b"250", b"354"]
            assert await client.say(MAIL + b".\r\n") == LOGGED
            assert provider.messages == []
            assert await relay.emails() == []
            assert [each.value["reason"] for each in await relay.decisions()] == ["not_delivered"]

    async def test_a_client_that_dies_has_logged_nothing(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(BCC)
            await client.say(b"DATA\r\n")
            client.send(MAIL)
            await relay.heard(client.sent)
            client.reset()
            await relay.until_idle()
            assert await relay.emails() == []
            assert await relay.decisions() == []

    async def test_a_provider_that_goes_meanwhile_costs_the_session_and_not_the_message(self, tmp_path: Path) -> None:
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
            async with Client(relay.port) as client:
                await client.begin()
                await client.address(BCC)
                await client.say(b"DATA\r\n")
                client.send(MAIL)
                await relay.heard(client.sent)
                assert relay.session._leg is not None
                relay.session._leg.transport.abort()  # as if the provider had
                await relay.until(lambda: relay.session._leg is None)
                client.send(b".\r\nNOOP\r\n")
                answer = await client.rest()
                assert answer == LOGGED + b"421 4.4.2 The mail provider closed the connection\r\n"
            assert len(await relay.emails()) == 1


class TestWhichAddresses:
    async def test_those_of_every_portal_however_they_are_written(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await relay.directory.add_portal("P2", bcc_address="log-p2@cap.example")
            await client.begin()
            client.send(group(b"log-p2@cap.example", b"LOG-P1@Cap.Example", b'"log-p1"@cap.example.'))
            assert [each[:9] for each in (await client.replies(5))[1:4]] == [b"250 2.1.5"] * 3
            assert await client.say(MAIL + b".\r\n") == LOGGED
            assert [line for line in provider.commands if line.startswith(b"RCPT")] == []
            found = {each.portal: each.value["reason"] for each in await relay.decisions()}
            assert found == {1: "bcc_address", 2: "capture_sender_not_user"}

    @pytest.mark.parametrize(
        "path",
        [b"log-p1+x@cap.example", b"xlog-p1@cap.example", b"log-p1@sub.cap.example", b"log-p1@cap.example.evil.example",
         b"@relay.example:log-p1@cap.example", b"log-p1%cap.example@relay.example", b"log-p1", b"", b"@cap.example"],
    )  # fmt: skip
    async def test_no_others(self, tmp_path: Path, path: bytes) -> None:
        verdict = b"550 5.1.1 not mine\r\n"
        async with (
            RecordingProvider(verdicts={path: verdict}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.say(b"MAIL FROM:<ann@acme.example>\r\n")
            assert await client.say(b"RCPT TO:<" + path + b">\r\n") == verdict
            assert provider.commands[-1] == b"RCPT TO:<" + path + b">\r\n"

    async def test_a_new_address_counts_at_once_and_the_old_one_is_the_providers(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(verdicts={BCC: b"550 5.1.1 not mine\r\n"}) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(BCC)
            await client.say(b"RSET\r\n")
            await relay.directory.set_portal("P1", bcc_address="new@cap.example")
            await client.address(b"new@cap.example")
            assert (await client.say(b"RCPT TO:<" + BCC + b">\r\n")).startswith(b"550")

    async def test_there_is_no_mail_without_a_login(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider(mechanisms=()) as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(group(BCC))
            assert [each[:3] for each in await client.replies(3)] == [b"530"] * 3


class TestCost:
    async def test_recipients_cost_no_query_of_their_own(self, tmp_path: Path) -> None:
        people = [b"r%d@x.example" % number for number in range(200)]
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            with queries(relay) as said:
                client.send(group(*people, ending=b"RSET\r\n"))
                await client.replies(202)
            assert said == []


class TestTheStoreIsAway:
    async def test_an_address_that_was_known_is_taken_and_others_pass(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider]) as relay,
            Client(relay.port) as client,
        ):
            await client.begin()
            await client.address(KIM)
            await client.say(b"RSET\r\n")
            with store_away(relay):
                await client.address(BCC, KIM)
                await client.say(b"DATA\r\n")
                assert (await client.say(MAIL + b".\r\n")).startswith(b"250 2.0.0 taken")
            (message,) = provider.messages
            assert message.forward_paths == [KIM]
            (decision,) = await relay.decisions()
            assert decision.value["reason"] == "bcc_address"

    async def test_what_was_never_known_is_the_providers_to_judge(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            InProcess(tmp_path, [provider], opens=False) as relay,
            Client(relay.port) as client,
        ):
            with store_away(relay):
                await relay.open()
                await client.begin()
                await client.address(BCC, KIM)
            assert provider.commands[-2:] == [b"RCPT TO:<" + BCC + b">\r\n", b"RCPT TO:<" + KIM + b">\r\n"]


@contextmanager
def store_away(relay: InProcess) -> Iterator[None]:
    """A store whose tables are gone, and bells that say that all must be read anew."""
    path = relay.folder / "onrecord.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("alter table directory_version rename to away")
    bell = relay.folder / "directory.bell"
    for each in (bell, capture_bell(bell)):
        each.write_text("rung")
    yield
    with sqlite3.connect(path) as connection:
        connection.execute("alter table away rename to directory_version")
    relay.captures._ask_again_at = 0.0
