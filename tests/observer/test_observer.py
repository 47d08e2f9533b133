"""The observer and servers that lack something, refuse, fall silent or speak nonsense; and a store that is away."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from in_process import HASH_KEY
from judged_log import entry
from observed_mailbox import Observing, Password, message, provider_at
from pki import Pki
from pretend_mailbox import PretendMailbox
from spooled import LOG, an_entry, facts, put

from engine.directory import Question, Rule
from proxy.imap.own_login import MailboxCredentials
from proxy.limits import Limits
from proxy.mailbox_login import CredentialsUnavailable
from proxy.observer import Rhythm, State
from proxy.route import Provider, Tls
from store import schema
from store.database import StoreUnavailable
from store.entry import Entry, EntryKind
from store.hashes import keyed_hash
from store.observed import FolderProgress, Observed

ANN = "ann@acme.example"
LONG = Rhythm(answer=20.0, round=1500.0, poll=1500.0, first_pause=0.02, longest_pause=0.05)


@pytest_asyncio.fixture
async def observing(tmp_path: Path, pki: Pki) -> AsyncIterator[Observing]:
    async with Observing.started(tmp_path, pki) as started:
        yield started


def at(mailbox: PretendMailbox) -> Provider:
    return provider_at(mailbox.port, None, Tls.NONE)


class TestServersThatLackSomething:
    @pytest.mark.parametrize(
        "more",
        [
            {"capabilities": "IMAP4rev1 AUTH=PLAIN SASL-IR"},
            {"idle": "refused"},
            {"idle": "short"},
            {"idle": "deaf"},
            {"without": frozenset(("uidnext",))},
            {"without": frozenset(("partial",))},
            {"capabilities": "IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+"},
        ],
        ids=str,
    )
    async def test_what_comes_is_found_all_the_same(self, observing: Observing, more: Any) -> None:
        async with PretendMailbox(**more) as mailbox:
            mailbox.deliver(message("Before"))
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
                for subjects in (["One"], ["One", "Two"]):
                    mailbox.deliver(message(subjects[-1]))
                    await observing.logged(*subjects)
            verbs = mailbox.verbs()
        assert mailbox.connections == 1
        assert verbs["SELECT"] == verbs["STORE"] == 0
        if mailbox.idle in ("refused", "short"):
            assert verbs["IDLE"] == 1

    async def test_idle_is_begun_anew(self, observing: Observing) -> None:
        rhythm = Rhythm(round=0.02)
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox), rhythm=rhythm) as one:
            await observing.until_watching(one)
            await observing.until(lambda: mailbox.verbs()["IDLE"] > 3)
            mailbox.deliver(message("One"))
            await observing.logged("One")
        assert mailbox.connections == 1

    async def test_a_folder_that_is_refused_does_not_keep_from_the_others(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox:
            mailbox.folders |= {"A bad one": [], "Other": []}
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
                mailbox.refused = frozenset((1,))
                mailbox.deliver(message("Refused"), "A bad one")
                mailbox.folders["Other"] = []
                await observing.until(lambda: any("cannot be read" in each["event"] for each in observing.here.log))
                mailbox.refused = frozenset()
                mailbox.deliver(message("Other"), "Other")
                await observing.logged("Refused", "Other")
                assert one.state is State.WATCHING
        assert mailbox.connections == 1


class TestWhatIsAskedFor:
    async def test_bodies_only_of_what_is_logged(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            mailbox.deliver(message("Private", author="aunt@home.example"))
            wanted = mailbox.deliver(message("Offer"))
            await observing.logged("Offer")
        bodies = [each for each in mailbox.commands if "BODY.PEEK[]" in each]
        assert bodies == [f"UID FETCH {wanted} (UID BODY.PEEK[])"]

    async def test_a_long_header_section_is_fetched_whole(self, observing: Observing) -> None:
        lines = "".join(f"X-Trace-{number}: {'x' * 900}\r\n" for number in range(60))
        long = lines.encode() + message("Long")
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            mailbox.deliver(long)
            mailbox.deliver(message("Short"))
            await observing.logged("Long", "Short")

    async def test_a_draft_among_other_mail_is_not_logged(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            mailbox.deliver(message("Draft", author=ANN, to="kim@cust.example"), flags="\\Draft")
            mailbox.deliver(message("Sent", author=ANN, to="kim@cust.example"))
            await observing.logged("Sent")
        assert [each.reason for each in await observing.here.decisions()] == ["draft", "sent_to_contact"]

    async def test_the_sent_copy_of_what_was_relayed_is_the_same_record(self, observing: Observing) -> None:
        """The provider's copy has a trace field more, so nothing but the identity of messages tells."""
        content = message("Offer", author=ANN, to="kim@cust.example")
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            await put(observing.here.spool, entry("relayed", content, login=ANN, to=["kim@cust.example"]))
            mailbox.deliver(b"Received: from relay.example\r\n" + content)
            await observing.rows(observing.here.decisions, 2)
            await observing.logged("Offer")
        captures = await observing.here._rows(schema.capture)
        assert sorted(each.source for each in captures) == ["observer", "relay"]

    async def test_more_than_one_batch(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox:
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
            for number in range(53):
                mailbox.deliver(message(f"Number {number}"))
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
            await observing.logged(*(f"Number {number}" for number in range(53)))

    async def test_an_answer_whose_parent_may_be_logged_later_waits(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            Observing.started(tmp_path, pki, rule=Rule.REPLIES_ONLY) as observing,
            PretendMailbox() as mailbox,
            observing.observer(ANN, at(mailbox)) as one,
        ):
            await observing.until_watching(one)
            mailbox.deliver(message("Answer", In_Reply_To="<not-seen@acme.example>"))
            await observing.rows(observing.here.decisions, 1)
            assert len(await observing.here._rows(schema.waiting)) == 1
            assert (await observing.here.decisions())[0].reason == "pending_parent"


class TestWhatCannotBeHad:
    async def test_a_message_that_goes_before_it_is_fetched_leaves_a_gap(self, observing: Observing) -> None:
        without = frozenset(("body",))
        async with PretendMailbox(without=without) as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            mailbox.deliver(message("Gone"))
            gaps = await observing.rows(observing.here.gaps, 1)
        assert [(each.kind, each.cause, each.source) for each in gaps] == [("capture_failed", "expunged", "observer")]

    async def test_a_message_beyond_all_bounds_is_not_fetched(self, tmp_path: Path, pki: Pki) -> None:
        async with (
            Observing.started(tmp_path, pki, limits=Limits(message=1000)) as observing,
            PretendMailbox() as mailbox,
            observing.observer(ANN, at(mailbox)) as one,
        ):
            await observing.until_watching(one)
            mailbox.deliver(message("Large"), size=1001)
            mailbox.deliver(message("Small"), size=1000)
            await observing.logged("Small")
            assert [each.cause for each in await observing.here.gaps()] == ["too_large"]

    @pytest.mark.parametrize("trouble", ["poison", "refused"])
    async def test_one_message_that_cannot_be_read_keeps_no_other_from_the_log(
        self, observing: Observing, trouble: str
    ) -> None:
        async with PretendMailbox() as mailbox:
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
            for number in range(1, 31):
                mailbox.deliver(message(f"Number {number}"))
            setattr(mailbox, trouble, frozenset((3, 27)))
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
                await observing.logged(*(f"Number {number}" for number in range(1, 31) if number not in (3, 27)))
        assert observing.here.captures.counts["unobservable"] == 2


class TestGaps:
    """What the relay could not keep, or does not know the outcome of, and the copy in Sent."""

    @pytest.mark.parametrize("kind", ["capture_failed", "outcome_unknown"])
    @pytest.mark.parametrize("is_known_first", [True, False])
    async def test_a_gap_of_the_relay_is_closed_by_the_copy_in_sent(
        self, observing: Observing, kind: str, is_known_first: bool
    ) -> None:
        hashes = [keyed_hash(HASH_KEY, "Offer@cust.example")]
        gap = an_entry("gap", kind=EntryKind.GAP, content=None, facts=facts(LOG, gap=kind, message_ids=hashes))
        async with PretendMailbox() as mailbox:
            mailbox.folders["Sent"] = []
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
                if is_known_first:
                    await put(observing.here.spool, gap)
                    assert [each.closed_at for each in await observing.here.gaps()] == [None]
                mailbox.deliver(message("Another", author=ANN, to="kim@cust.example"), "Sent")
                await observing.logged("Another")
                assert [each.closed_at for each in await observing.here.gaps()] == [None] * is_known_first
                mailbox.deliver(message("Offer", author=ANN, to="kim@cust.example"), "Sent")
                await observing.logged("Another", "Offer")
                if not is_known_first:
                    await put(observing.here.spool, gap)
            assert [each.closed_at is not None for each in await observing.here.gaps()] == [True]

    async def test_a_copy_that_is_not_logged_closes_no_gap(self, observing: Observing) -> None:
        """Kim was put on Never Log meanwhile: nothing is in the log, so the gap is one still."""
        hashes = [keyed_hash(HASH_KEY, "Offer@cust.example")]
        more = {"gap": "outcome_unknown", "message_ids": hashes}
        await put(observing.here.spool, an_entry("gap", kind=EntryKind.GAP, content=None, facts=facts(LOG, **more)))
        await observing.here.directory.add_never_log("P1", "kim@cust.example")
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            mailbox.deliver(message("Offer", author=ANN, to="kim@cust.example"))
            await observing.rows(observing.here.decisions, 1)
        assert [each.closed_at for each in await observing.here.gaps()] == [None]


class TestAnotherServer:
    async def test_what_was_read_at_one_says_nothing_of_another(self, observing: Observing) -> None:
        """The same address, and folders with the same UIDVALIDITY: what lay there is not new all the same."""
        async with PretendMailbox() as before, observing.observer(ANN, at(before)) as one:
            await observing.until_watching(one)
            before.deliver(message("Offer"))
            await observing.logged("Offer")
        async with PretendMailbox() as after:
            for number in range(3):
                after.deliver(message(f"Old {number}"))
            async with observing.observer(ANN, replace(at(after), name="other")) as one:
                await observing.until_watching(one)
                after.deliver(message("New"))
                await observing.logged("Offer", "New")
            progress = Observed(observing.here.database).progress
            assert (await progress("mail", ANN))["INBOX"].uidnext == 2
            assert (await progress("other", ANN))["INBOX"].uidnext == 5

    async def test_what_was_read_before_they_were_told_apart_goes_on(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox:
            mailbox.deliver(message("Read"))
            known = FolderProgress(uidvalidity=7, uidnext=2, since=1.0, at=1.0)
            await Observed(observing.here.database).advance("", ANN, "INBOX", known)
            mailbox.deliver(message("Meanwhile"))
            async with observing.observer(ANN, at(mailbox)):
                await observing.logged("Meanwhile")


class TestSearchesByDate:
    async def test_a_search_that_was_interrupted_goes_on_where_it_was(self, observing: Observing) -> None:
        async with PretendMailbox(poison=frozenset((15,))) as mailbox:
            for number in range(1, 61):
                mailbox.deliver(message(f"Number {number}"))
            await _begin_search(observing)
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until(lambda: one.state is State.LOST)
                mailbox.poison = frozenset()
                await observing.until_watching(one)
            await observing.logged(*(f"Number {number}" for number in range(1, 61)))
        bodies = [each for each in mailbox.commands if "BODY.PEEK[]" in each]
        assert len(bodies) == 60
        assert mailbox.connections > 1

    async def test_a_server_that_was_restored_from_a_copy_gives_uids_again(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox:
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
                for subject in ("One", "Two", "Three"):
                    mailbox.deliver(message(subject))
                await observing.logged("One", "Two", "Three")
            del mailbox.folders["INBOX"][1:]
            mailbox.deliver(message("Four"))
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
            await observing.logged("One", "Two", "Three", "Four")
        assert len(await observing.here.decisions()) == 4

    async def test_what_comes_during_a_search_is_not_kept_waiting(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox:
            for number in range(1, 101):
                mailbox.deliver(message(f"Number {number}"))
            mailbox.on_search = lambda: mailbox.deliver(message("New"))
            await _begin_search(observing)
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
        bodies = [each for each in mailbox.commands if "BODY.PEEK[]" in each]
        assert len(bodies) == 101
        assert bodies.index("UID FETCH 101 (UID BODY.PEEK[])") <= 20

    async def test_a_folder_that_a_lost_connection_kept_from_us_misses_nothing(self, observing: Observing) -> None:
        """INBOX was opened when the connection broke; what comes to Sent before the next one counts."""
        async with PretendMailbox(silent={"LIST"}) as mailbox:
            rhythm = Rhythm(answer=0.2, round=1500.0, first_pause=0.02, longest_pause=0.05)
            async with observing.observer(ANN, at(mailbox), rhythm=rhythm) as one:
                await observing.until(lambda: one.state is State.LOST)
                mailbox.deliver(message("Sent", author=ANN, to="kim@cust.example"), "Sent")
                mailbox.silent = set()
                await observing.until_watching(one)
                await observing.logged("Sent")


class TestTroubleOfOurs:
    async def test_while_the_store_is_away_nothing_is_kept_undecided_or_lost(
        self, observing: Observing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = observing.here.captures.directory
        ask, asked = directory.ask, [0]

        async def away(question: Question) -> Any:
            asked[0] += 1
            raise StoreUnavailable("away")

        written = _recorded_puts(observing, monkeypatch)
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            monkeypatch.setattr(directory, "answer", lambda question: None)
            monkeypatch.setattr(directory, "ask", away)
            mailbox.deliver(message("Offer"))
            await observing.until(lambda: asked[0] > 2)
            assert written == []
            monkeypatch.setattr(directory, "ask", ask)
            await observing.logged("Offer")
        assert [each.kind for each in written if each.facts["source"] == "observer"] == [EntryKind.MESSAGE]

    async def test_while_the_spool_takes_nothing_it_is_tried_again(
        self, observing: Observing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spool = observing.here.spool
        put, refused = spool.put, [0]

        def full(entry: Entry, done: Callable[[Exception | None], None], file: Any = None) -> None:
            if entry.facts["source"] == "observer" and refused[0] < 3:
                refused[0] += 1
                done(OSError(28, "no space"))
            else:
                put(entry, done, file)

        monkeypatch.setattr(spool, "put", full)
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox)) as one:
            await observing.until_watching(one)
            mailbox.deliver(message("Offer"))
            mailbox.deliver(message("Large", body=b"x" * 300_000 + b"\r\n"))
            await observing.logged("Offer", "Large")
        assert refused == [3]
        assert len(await observing.here.decisions()) == 2

    async def test_what_is_read_again_after_a_crash_is_recorded_once(
        self, observing: Observing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Progress that could not be written is as good as a crash before it was: all is read twice."""
        async with PretendMailbox() as mailbox:
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
            advance = Observed.advance

            async def away(self: Observed, *arguments: Any) -> None:
                raise StoreUnavailable("away")

            monkeypatch.setattr(Observed, "advance", away)
            mailbox.deliver(message("Offer"))
            nameless = message("Nameless").replace(b"Message-ID: <Nameless@cust.example>\r\n", b"")
            mailbox.deliver(nameless)
            mailbox.deliver(message("Private", author="aunt@home.example"))
            for _ in range(2):
                async with observing.observer(ANN, at(mailbox)) as one:
                    await observing.until_watching(one)
                    await observing.logged("Offer", "Nameless")
            monkeypatch.setattr(Observed, "advance", advance)
        fetched = [each for each in mailbox.commands if "BODY.PEEK[]" in each]
        assert len(fetched) == 4
        assert len(await observing.here.decisions()) == 3
        assert len(await observing.here._rows(schema.capture)) == 2


class TestLostConnections:
    async def test_a_server_that_says_goodbye(self, observing: Observing) -> None:
        async with PretendMailbox(idle="bye") as mailbox, observing.observer(ANN, at(mailbox), rhythm=LONG) as one:
            await observing.until(lambda: mailbox.connections == 2)
            await observing.until_watching(one)
            mailbox.deliver(message("Offer"))
            await observing.logged("Offer")

    @pytest.mark.parametrize("verb", ["EXAMINE", "LIST", "UID FETCH", "AUTHENTICATE", "ID"])
    async def test_a_server_that_falls_silent(self, observing: Observing, verb: str) -> None:
        rhythm = Rhythm(answer=0.2, round=1500.0, first_pause=0.02, longest_pause=0.05)
        async with PretendMailbox() as mailbox:
            async with observing.observer(ANN, at(mailbox)) as one:
                await observing.until_watching(one)
            mailbox.deliver(message("Offer"))
            mailbox.silent = {verb}
            async with observing.observer(ANN, at(mailbox), rhythm=rhythm) as one:
                await observing.until(lambda: one.state is State.LOST)
                mailbox.silent = set()
                await observing.until_watching(one)
                await observing.logged("Offer")

    async def test_pauses_grow_up_to_a_bound_and_are_never_the_same(self, observing: Observing) -> None:
        pauses: list[float] = []
        chances = [0.0, 1.0, 0.5]

        async def no_pause(seconds: float) -> None:
            pauses.append(seconds)
            await asyncio.sleep(0)

        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            options: dict[str, Any] = {
                "rhythm": Rhythm(first_pause=1.0, longest_pause=8.0),
                "chance": lambda: chances[len(pauses) % 3],
                "sleep": no_pause,
            }
            provider = provider_at(nobody.getsockname()[1], None, Tls.NONE)
            async with observing.observer(ANN, provider, **options):
                await observing.until(lambda: len(pauses) >= 7)
        assert pauses[:7] == [0.5, 2.0, 3.0, 4.0, 8.0, 6.0, 4.0]


class TestLogins:
    async def test_a_refusal_is_told_and_tried_again_with_what_there_is_then(self, observing: Observing) -> None:
        source = Password(ANN)
        refusals = ["NO [AUTHENTICATIONFAILED] no", "NO [UNAVAILABLE] later", "NO"]
        async with PretendMailbox(logins=refusals) as mailbox, observing.observer(ANN, at(mailbox), source) as one:
            await observing.until_watching(one)
            mailbox.deliver(message("Offer"))
            await observing.logged("Offer")
        assert source.refusals == ["[AUTHENTICATIONFAILED] no", "NO"]
        assert [each for each in observing.states if each in (State.REFUSED, State.LOST)] == [
            State.REFUSED,
            State.LOST,
            State.REFUSED,
        ]

    async def test_a_login_that_is_not_offered_is_not_said(self, observing: Observing) -> None:
        source = Password(ANN)
        pretend = PretendMailbox(capabilities="IMAP4rev1 LOGINDISABLED")
        async with pretend as mailbox, observing.observer(ANN, at(mailbox), source) as one:
            await observing.until(lambda: one.state is State.REFUSED)
        assert mailbox.commands == []
        assert source.refusals == ["the server does not offer this way to log in"]

    async def test_while_there_is_nothing_to_log_in_with_nobody_is_bothered(self, observing: Observing) -> None:
        class Empty(Password):
            asked = 0

            async def credentials(self, mailbox: int) -> MailboxCredentials:
                type(self).asked += 1
                raise CredentialsUnavailable("the token has gone")

        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox), Empty(ANN)):
            await observing.until(lambda: Empty.asked > 2)
        assert mailbox.connections == 0

    async def test_no_secret_is_in_any_log(self, observing: Observing) -> None:
        source = Password(ANN, secret="a very secret word")
        pretend = PretendMailbox(logins=["NO [EXPIRED] a very secret word"])
        async with pretend as mailbox, observing.observer(ANN, at(mailbox), source) as one:
            await observing.until_watching(one)
        assert "secret word" not in repr(observing.here.log) + repr(observing.states) + repr(source.refusals)
        assert any("refuses the login" in each["event"] for each in observing.here.log)


async def _begin_search(observing: Observing) -> None:
    """INBOX is to be searched for all that came since the beginning."""
    progress = FolderProgress(uidvalidity=0, uidnext=1, since=1.0, catch_up_from=1.0, at=1.0)
    await Observed(observing.here.database).advance("mail", ANN, "INBOX", progress)


def _recorded_puts(observing: Observing, monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """What is put into the spool from now on, but for the barriers of waiting tests."""
    spool, found = observing.here.spool, []
    put = spool.put

    def record(entry: Entry, done: Callable[[Exception | None], None], file: Any = None) -> None:
        if not entry.key.startswith("barrier"):
            found.append(entry)
        put(entry, done, file)

    monkeypatch.setattr(spool, "put", record)
    return found
