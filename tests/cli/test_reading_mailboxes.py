"""Commands that read a connected mailbox: whose mailbox they may read, at a server that notes who comes, and what they
say of what waits to be recorded.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from loop_thread import LoopThread
from observed_mailbox import message
from pretend_mailbox import PretendMailbox
from served import to_toml

from onrecord import mailbox_reading
from onrecord.serving import ServingLock

ANN, DEE = "ann@acme.example", "dee@acme.example"
NO_ACCESS = "has given no access to personal email"
READING = [
    ("mailbox", "backfill", ANN, "--since", "7d"),
    ("mailbox", "log-folder", ANN),
    ("coverage", "--user", ANN),
    ("coverage", "--user", ANN, "--repair"),
    ("log", "hello@cust.example", "--user", ANN),
]


@pytest.fixture
def server() -> Iterator[PretendMailbox]:
    """A mailbox with a message from Kim to Ann, for whoever logs in."""

    async def start() -> PretendMailbox:
        return await PretendMailbox().__aenter__()

    with LoopThread() as loop:
        pretend = loop.run(start())
        pretend.deliver(message("hello"))
        yield pretend
        loop.run(pretend.__aexit__())


@pytest.fixture
def reading(sample: Any, server: PretendMailbox, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The installation with Ann's mailbox connected there."""
    table = {"name": "main", "kind": "imap", "host": "127.0.0.1", "port": server.port, "tls": "none"}
    table["domains"] = ["acme.example"]
    sample.config.write_text(to_toml({"hash_key_file": "hash.key", "provider": [table]}))
    sample.done("mailbox", "rekey")
    sample.say = lambda octets: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(octets)))
    sample.say(b"hunter2")
    sample.done("mailbox", "connect", ANN, "--user", ANN, "--password-stdin")
    return sample


class TestAccess:
    @pytest.mark.parametrize("words", READING, ids=" ".join)
    @pytest.mark.parametrize(
        ("options", "why"),
        [
            (("--no-personal-email-access",), NO_ACCESS),
            (("--inactive",), "is inactive"),
            (("--inactive", "--no-personal-email-access"), f"is inactive and {NO_ACCESS}"),
        ],
        ids=["no access", "inactive", "both"],
    )
    def test_without_it_nothing_is_opened_and_the_mend_is_told(
        self, reading: Any, server: PretendMailbox, words: tuple[str, ...], options: tuple[str, ...], why: str
    ) -> None:
        before = server.connections
        reading.done("user", "set", ANN, *options)
        complaint = reading.refused(*words)
        mend = " ".join(each.replace("--inactive", "--active").replace("--no-", "--") for each in options)
        assert complaint == f"{ANN} {why}, so no mailbox of theirs is read until: onrecord user set {ANN} {mend}"
        assert server.connections == before

    def test_with_it_again_they_read(self, reading: Any, server: PretendMailbox) -> None:
        reading.done("user", "set", ANN, "--inactive")
        reading.done("user", "set", ANN, "--active")
        before = server.connections
        (compared,) = reading.run("coverage", "--user", ANN, "--json").json["mailboxes"]
        assert compared["seen"] == 1
        assert server.connections == before + 1

    def test_without_it_nothing_is_connected_that_is_to_be_read_at_once(
        self, reading: Any, server: PretendMailbox
    ) -> None:
        before = server.connections
        reading.say(b"hunter2")
        words = ("mailbox", "connect", DEE, "--user", DEE, "--password-stdin")
        assert f"onrecord user set {DEE} --personal-email-access" in reading.refused(*words, "--since", "7d")
        assert server.connections == before
        assert [each["address"] for each in reading.done("mailbox", "list", "--json").json] == [ANN]
        reading.say(b"hunter2")
        assert f"{DEE} {NO_ACCESS}, so nothing is logged until" in reading.done(*words).error

    @pytest.mark.parametrize("words", [*READING[:1], *READING[2:]], ids=" ".join)
    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (("user", "set", ANN, "--no-personal-email-access"), f"{ANN} {NO_ACCESS}"),
            (("user", "set", ANN, "--inactive"), f"{ANN} is inactive"),
            (("mailbox", "disconnect", ANN), f"'{ANN}' is no connected mailbox"),
        ],
        ids=["access", "active", "connected"],
    )
    def test_whoever_withdraws_it_ends_what_reads(
        self, reading: Any, server: PretendMailbox, words: tuple[str, ...], change: tuple[str, ...], why: str
    ) -> None:
        server.silent.add("UID FETCH")  # so that nothing else ends the command

        def withdraw() -> None:
            done = reading.program("-c", str(reading.config), *change)
            assert done.returncode == 0, done.stderr

        server.on_search = withdraw
        assert why in reading.refused(*words)


class TestWaiting:
    HALTED = "`onrecord serve` does not run: {} recorded when it does\n"

    @pytest.fixture(autouse=True)
    def patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who waits for a recorder that does not run waits for long."""
        monkeypatch.setattr(mailbox_reading, "DRAIN_SECONDS", 120.0)

    @pytest.mark.parametrize("words", [READING[0], READING[3], READING[4]], ids=" ".join)
    def test_where_nobody_records_that_is_told_at_once(self, reading: Any, words: tuple[str, ...]) -> None:
        assert reading.done(*words).error == self.HALTED.format("1 message waits in the spool, and is")

    def test_it_says_how_many_messages_wait(self, reading: Any, server: PretendMailbox) -> None:
        server.deliver(message("not logged", author="aunt@home.example"))
        server.deliver(message("again"))
        said = reading.done("mailbox", "backfill", ANN, "--since", "7d", "--json")
        assert said.json | {"since": ""} == {
            "address": ANN, "since": "", "seen": 3, "logged": 2, "not_logged": 1, "failed": 0
        }  # fmt: skip
        assert said.error == self.HALTED.format("3 messages wait in the spool, and are")

    def test_a_mailbox_that_is_connected_with_what_came_before_tells_it_too(self, reading: Any) -> None:
        reading.say(b"hunter2")
        said = reading.done("mailbox", "connect", ANN, "--user", ANN, "--password-stdin", "--since", "7d")
        assert said.error == self.HALTED.format("1 message waits in the spool, and is")

    @pytest.mark.parametrize("words", READING[1:3], ids=" ".join)
    def test_where_nothing_waits_nothing_is_told(
        self, reading: Any, server: PretendMailbox, words: tuple[str, ...]
    ) -> None:
        server.folders["Log to CRM"] = []
        assert "serve" not in reading.run(*words).error

    def test_a_recorder_that_is_slow_is_not_waited_for_without_end(
        self, reading: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mailbox_reading, "DRAIN_SECONDS", 0.0)
        with ServingLock(reading.folder):
            told = reading.done("mailbox", "backfill", ANN, "--since", "7d").error
        assert told.startswith("`onrecord serve` has not recorded all of it yet")
