"""Our own client on Dovecot's mailboxes: what comes is logged, once, whatever breaks in between."""

from __future__ import annotations

import os
import shutil
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from debian_peers import LOGINS, bearer_token, need
from observed_mailbox import Dovecots, Line, Observing, Password, message, provider_at
from pki import Pki

from proxy.observer import Rhythm, State
from proxy.route import Tls

pytestmark = pytest.mark.peers

ANN = LOGINS[0]
PATIENT = Rhythm(answer=60.0, round=1500.0, safety=1500.0)


@pytest_asyncio.fixture
async def dovecot(pki: Pki) -> AsyncIterator[Dovecots]:
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    async with Dovecots(pki) as running:
        yield running


@pytest_asyncio.fixture
async def observing(tmp_path: Path, pki: Pki) -> AsyncIterator[Observing]:
    async with Observing.started(tmp_path, pki) as started:
        yield started


class TestWhatComes:
    async def test_mail_is_logged_while_idle_waits(self, dovecot: Dovecots, observing: Observing) -> None:
        """No round is due for long: only IDLE can tell."""
        await dovecot.deliver(ANN, message("Before"))
        async with observing.observer(
            ANN, provider_at(dovecot.imap_implicit_port, observing.pki), rhythm=PATIENT
        ) as one:
            await observing.until_watching(one)
            for subject in ("Offer", "Again"):
                await dovecot.deliver(ANN, message(subject))
                await observing.rows(observing.here.emails, 1 if subject == "Offer" else 2)
            await observing.logged("Offer", "Again")
        email = (await observing.here.emails())[0]
        assert await observing.here.raw(email) == message("Offer")
        assert [(each.source, each.reason) for each in await observing.here.decisions()] == [
            ("observer", "received_from_contact")
        ] * 2

    async def test_what_comes_to_other_folders_is_logged_while_idle_waits(
        self, dovecot: Dovecots, observing: Observing
    ) -> None:
        """Nor is a folder asked: Dovecot tells by NOTIFY, of one that is made meanwhile too."""
        provider = provider_at(dovecot.imap_implicit_port, observing.pki)
        async with observing.observer(ANN, provider, rhythm=PATIENT) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("Sent", author=ANN, to="kim@cust.example"), "Sent")
            await observing.logged("Sent")
            await dovecot.deliver(ANN, message("Offer"))
            await observing.logged("Sent", "Offer")
            await dovecot.doveadm("mailbox", "create", "-u", ANN, "Entwürfe für Kim")
            await dovecot.deliver(ANN, message("Filtered"), "Entwürfe für Kim")
            await dovecot.deliver(ANN, message("Spam"), "Trash")
            await dovecot.deliver(ANN, message("Again", author=ANN, to="kim@cust.example"), "Sent")
            await observing.logged("Sent", "Offer", "Filtered", "Again")
        assert len(await observing.here.decisions()) == 4

    async def test_what_another_program_puts_into_a_folder_is_found_when_all_are_asked_again(
        self, dovecot: Dovecots, observing: Observing
    ) -> None:
        """Dovecot does not tell of it."""
        rhythm = Rhythm(answer=60.0, round=1500.0, safety=0.5)
        await dovecot.deliver(ANN, message("Before"), "Sent")
        async with observing.observer(
            ANN, provider_at(dovecot.imap_implicit_port, observing.pki), rhythm=rhythm
        ) as one:
            await observing.until_watching(one)
            _drop_into(dovecot, ANN, message("Filtered"), mailbox=".Sent")
            await observing.logged("Filtered")

    async def test_starttls_and_login_by_command(self, dovecot: Dovecots, observing: Observing) -> None:
        provider = provider_at(dovecot.imap_starttls_port, observing.pki, Tls.STARTTLS)
        async with observing.observer(ANN, provider, Password(ANN, mechanism="LOGIN")) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("Offer"))
            await observing.logged("Offer")

    async def test_a_token_logs_in_and_a_bad_one_is_told(self, dovecot: Dovecots, observing: Observing) -> None:
        provider = provider_at(dovecot.imap_implicit_port, observing.pki)
        source = Password(ANN, secret="no token", mechanism="XOAUTH2")
        async with observing.observer(ANN, provider, source) as one:
            await observing.until(lambda: one.state is State.REFUSED)
            source.secret = bearer_token(ANN)
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("Offer"))
            await observing.logged("Offer")
        assert "AUTHENTICATIONFAILED" in source.refusals[0]

    async def test_what_was_sent_by_another_way_is_found_in_sent(self, dovecot: Dovecots, observing: Observing) -> None:
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("Sent", author=ANN, to="kim@cust.example"), "Sent")
            await observing.logged("Sent")
        assert (await observing.here.decisions())[0].reason == "sent_to_contact"

    async def test_junk_trash_and_drafts_are_not_looked_at(self, dovecot: Dovecots, observing: Observing) -> None:
        """Dovecot marks Trash and Drafts; Junk and the folder below it are known by name."""
        for name in ("Junk", "Junk/Old", "Customers"):
            await dovecot.doveadm("mailbox", "create", "-u", ANN, name)
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
            for name in ("Junk", "Junk/Old", "Trash", "Drafts", "Customers"):
                await dovecot.deliver(ANN, message(f"In {name}"), name)
            await observing.logged("In Customers")
            await dovecot.doveadm("move", "-u", ANN, "INBOX", "mailbox", "Junk", "all")
            await dovecot.deliver(ANN, message("Last"))
            await observing.logged("In Customers", "In Junk", "Last")
        assert len(await observing.here.decisions()) == 3

    async def test_mail_of_nobody_known_leaves_a_decision_and_no_body(
        self, dovecot: Dovecots, observing: Observing, tmp_path: Path
    ) -> None:
        private = message("Private", author="aunt@home.example", body=b"a secret of the family\r\n")
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, private)
            await dovecot.deliver(ANN, message("Offer"))
            await observing.logged("Offer")
        assert [each.reason for each in await observing.here.decisions()] == [
            "no_existing_contact",
            "received_from_contact",
        ]
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or b"secret of the family" not in path.read_bytes()

    async def test_nothing_is_changed_in_the_mailbox(self, dovecot: Dovecots, observing: Observing) -> None:
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("Offer"))
            await observing.logged("Offer")
            flags = await dovecot.doveadm("fetch", "-u", ANN, "flags", "mailbox", "INBOX")
        assert b"Seen" not in flags

    async def test_a_large_message_takes_little_memory(self, dovecot: Dovecots, observing: Observing) -> None:
        large = message("Large", body=b"0123456789abcdef" * 7 + b"\r\n" + (b"x" * 100 + b"\r\n") * 200_000)
        assert len(large) > 20_000_000
        async with observing.observer(
            ANN, provider_at(dovecot.imap_implicit_port, observing.pki), rhythm=PATIENT
        ) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("Small"))
            await observing.logged("Small")
            tracemalloc.start()
            try:
                _drop_into(dovecot, ANN, large)
                tracemalloc.reset_peak()
                await observing.until(lambda: observing.here.captures.counts["captured"] == 2)
                held = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            await observing.logged("Small", "Large")
        assert held < 4 * 1024 * 1024
        assert await observing.here.raw((await observing.here.emails())[1]) == large


class TestWhatBreaks:
    async def test_dovecot_is_killed_and_comes_back(self, dovecot: Dovecots, observing: Observing) -> None:
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("First"))
            await observing.logged("First")
            await dovecot.kill()
            await observing.until(lambda: one.state is State.LOST)
            _drop_into(dovecot, ANN, message("Meanwhile"))
            await dovecot.start_again()
            await observing.logged("First", "Meanwhile")
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("After"))
            await observing.logged("First", "Meanwhile", "After")
        assert len(await observing.here.decisions()) == 3

    async def test_a_line_that_goes_dead_without_a_word(self, dovecot: Dovecots, observing: Observing) -> None:
        rhythm = Rhythm(answer=1.5, round=0.3, safety=0.3, first_pause=0.02, longest_pause=0.05)
        async with (
            Line(dovecot.imap_implicit_port) as line,
            observing.observer(ANN, provider_at(line.port, observing.pki), rhythm=rhythm) as one,
        ):
            for number in range(3):
                await observing.until_watching(one)
                await dovecot.deliver(ANN, message(f"Before {number}"))
                line.cut()
                await dovecot.deliver(ANN, message(f"Meanwhile {number}"))
                await observing.until(lambda: one.state is not State.WATCHING)
                line.mend()
                await observing.until_watching(one)
            names = [f"{when} {number}" for number in range(3) for when in ("Before", "Meanwhile")]
            await observing.logged(*names)
        assert len(await observing.here.decisions()) == 6

    async def test_the_line_goes_dead_in_the_middle_of_messages(self, dovecot: Dovecots, observing: Observing) -> None:
        """Many messages, and a cut after a share of their octets each time: all come, each once."""
        rhythm = Rhythm(answer=1.5, round=1500.0, first_pause=0.02, longest_pause=0.05)
        subjects = [f"Number {number}" for number in range(30)]
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
        for subject in subjects:
            _drop_into(dovecot, ANN, message(subject, body=b"x" * 70 + b"\r\n" + b"y" * 60_000 + b"\r\n"))
        captured = observing.here.captures.counts
        async with (
            Line(dovecot.imap_implicit_port) as line,
            observing.observer(ANN, provider_at(line.port, observing.pki), rhythm=rhythm),
        ):
            for share in (1, 7, 20):
                await observing.until(lambda share=share: captured["captured"] >= share)
                connections = line.connections
                line.cut()
                line.mend()
                await observing.until(lambda connections=connections: line.connections > connections)
            await observing.logged(*subjects)
        assert len(await observing.here.decisions()) == 30

    async def test_the_observer_ends_and_another_goes_on(self, dovecot: Dovecots, observing: Observing) -> None:
        provider = provider_at(dovecot.imap_implicit_port, observing.pki)
        async with observing.observer(ANN, provider) as one:
            await observing.until_watching(one)
        for subject in ("One", "Two"):
            await dovecot.deliver(ANN, message(subject))
        await dovecot.deliver(ANN, message("Three"), "Sent")
        for _ in range(2):
            async with observing.observer(ANN, provider) as one:
                await observing.until_watching(one)
        await observing.logged("One", "Two", "Three")
        assert len(await observing.here.decisions()) == 3

    async def test_a_new_uidvalidity_loses_and_doubles_nothing(self, dovecot: Dovecots, observing: Observing) -> None:
        provider = provider_at(dovecot.imap_implicit_port, observing.pki)
        async with observing.observer(ANN, provider) as one:
            await observing.until_watching(one)
            await dovecot.deliver(ANN, message("Logged"))
            await observing.logged("Logged")
            await dovecot.deliver(ANN, message("Private", author="aunt@home.example"))
            await observing.rows(observing.here.decisions, 2)
        await dovecot.deliver(ANN, message("Meanwhile"))
        await dovecot.kill()
        _number_anew(dovecot, ANN)
        await dovecot.start_again()
        async with observing.observer(ANN, provider) as one:
            await observing.until_watching(one)
            await observing.logged("Logged", "Meanwhile")
            await dovecot.deliver(ANN, message("After"))
            await observing.logged("Logged", "Meanwhile", "After")
        assert len(await observing.here.decisions()) == 4


class TestWhatWasThereBefore:
    async def test_a_folder_made_later_is_read_from_when_observing_began(
        self, dovecot: Dovecots, observing: Observing
    ) -> None:
        await dovecot.deliver(ANN, message("Before"))
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
            await dovecot.doveadm("mailbox", "create", "-u", ANN, "Neuer Ordner für Kim")
            await dovecot.deliver(ANN, message("Filtered"), "Neuer Ordner für Kim")
            await observing.logged("Filtered")

    async def test_old_mail_that_is_moved_stays_unlogged(self, dovecot: Dovecots, observing: Observing) -> None:
        _drop_into(dovecot, ANN, message("Old"), at=time.time() - 90 * 86400)
        await dovecot.doveadm("mailbox", "create", "-u", ANN, "Archive")
        async with observing.observer(ANN, provider_at(dovecot.imap_implicit_port, observing.pki)) as one:
            await observing.until_watching(one)
            await dovecot.doveadm("move", "-u", ANN, "Archive", "mailbox", "INBOX", "all")
            await dovecot.deliver(ANN, message("New"), "Archive")
            await observing.logged("New")


def _drop_into(dovecot: Dovecots, login: str, content: bytes, *, at: float | None = None, mailbox: str = "") -> None:
    """A message into the maildir or a folder in it, as a program without Dovecot does; `at` is when it came."""
    folder = dovecot.maildir(login) / mailbox
    for name in ("tmp", "new", "cur"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        _give_away(folder / name)
    name = f"{time.time_ns()}.M1P1.localhost"
    draft = folder / "tmp" / name
    draft.write_bytes(content)
    _give_away(draft)
    if at is not None:
        os.utime(draft, (at, at))
    draft.rename(folder / "new" / name)


def _number_anew(dovecot: Dovecots, login: str) -> None:
    """INBOX gets another UIDVALIDITY, and its messages other UIDs."""
    folder = dovecot.maildir(login)
    uids = folder / "dovecot-uidlist"
    words = uids.read_text().split("\n", 1)[0].split(" ")
    anew = [f"V{int(each[1:]) + 7}" if each[0] == "V" else "N1" if each[0] == "N" else each for each in words]
    uids.write_text(" ".join(anew) + "\n")
    for path in folder.glob("dovecot.index*"):
        path.unlink()


def _give_away(path: Path) -> None:
    for each in (path, *path.parents[:3]):
        if "home" in each.parts:
            shutil.chown(each, "nobody", "nogroup")
