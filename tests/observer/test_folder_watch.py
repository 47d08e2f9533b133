"""Which folders are looked into, and when: by NOTIFY (RFC 5465) where it is to be had, else round after round."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from imap_dialogue import ways
from observed_mailbox import Observing, message, provider_at
from pki import Pki
from pretend_mailbox import PretendMailbox

from proxy.folder_changes import FolderChanges
from proxy.imap_client.dialogue import Dialogue
from proxy.imap_client.folders import MAX_FOLDERS, List
from proxy.imap_client.notify import FolderStatus, Notify, Told
from proxy.observer import Rhythm
from proxy.route import Provider, Tls

ANN = "ann@acme.example"
OFFERED = "IMAP4rev1 IDLE AUTH=PLAIN SASL-IR NOTIFY"
# No round is due for long: whoever finds something was told of it.
PATIENT = Rhythm(answer=20.0, round=1500.0, safety=1500.0, first_pause=0.02, longest_pause=0.05)
ROUNDS = Rhythm(answer=20.0, round=0.1, safety=1500.0, first_pause=0.02, longest_pause=0.05)


@pytest_asyncio.fixture
async def observing(tmp_path: Path, pki: Pki) -> AsyncIterator[Observing]:
    async with Observing.started(tmp_path, pki) as started:
        yield started


def offering(*folders: str, **more: Any) -> PretendMailbox:
    return PretendMailbox(capabilities=OFFERED, folders={name: [] for name in ("INBOX", *folders)}, **more)


def at(mailbox: PretendMailbox) -> Provider:
    return provider_at(mailbox.port, None, Tls.NONE)


def sent(subject: str) -> bytes:
    return message(subject, author=ANN, to="kim@cust.example")


class TestWhatIsTold:
    @pytest.mark.parametrize(
        ("said", "name", "status"),
        [
            (b"* STATUS Sent (UIDNEXT 9 UIDVALIDITY 3)\r\n", "Sent", FolderStatus(3, 9)),
            (b'* status "A &- b" (messages 4 uidnext 9 UNSEEN 1) \r\n', "A & b", FolderStatus(None, 9)),
            (b"* STATUS {4}\r\nS (1 (UIDVALIDITY 3)\r\n", "S (1", FolderStatus(3, None)),
            (b"* STATUS Entw&APw-rfe ()\r\n", "Entwürfe", FolderStatus()),
            (b"* STATUS Sent (UIDNEXT 99999999999)\r\n", "Sent", FolderStatus()),
        ],
    )
    def test_how_far_a_folder_is(self, said: bytes, name: str, status: FolderStatus) -> None:
        for way in ways([3, 11, 20]):
            assert self.heard(said, way=way).statuses == {name: status}

    def test_the_newest_counts_whatever_command_is_under_way(self) -> None:
        told = self.heard(b"* STATUS Sent (UIDNEXT 9)\r\n* 3 EXISTS\r\n* STATUS Sent (UIDNEXT 10)\r\n")
        assert told.statuses == {"Sent": FolderStatus(None, 10)}
        assert told.is_anything

    def test_a_new_folder_and_not_one_that_has_gone(self) -> None:
        told = self.heard(
            b'* LIST (\\NonExistent) "/" Gone\r\n* LIST () "/" C ("OLDNAME" ("A"))\r\n* LIST () "/" {3}\r\nD"E\r\n'
        )
        assert told.names == {"C", 'D"E'}

    @pytest.mark.parametrize("line", [b"* OK [NOTIFICATIONOVERFLOW] x\r\n", b"* no [notificationoverflow]\r\n"])
    def test_that_it_tells_no_more(self, line: bytes) -> None:
        assert self.heard(line).has_overflowed

    @pytest.mark.parametrize("line", [b"* OK hello\r\n", b"* STATUSES (UIDNEXT 4)\r\n", b"* STATUS Sent\r\n",
                                      b"* 3 EXISTS\r\n", b"* OK see [NOTIFICATIONOVERFLOW]\r\n"])  # fmt: skip
    def test_what_is_nothing_of_that_kind(self, line: bytes) -> None:
        assert not self.heard(line).is_anything

    def test_a_server_cannot_tell_of_more_folders_than_are_kept(self) -> None:
        lines = (b"* STATUS f%d (UIDNEXT 1)\r\n* LIST () NIL l%d\r\n" % (number, number) for number in range(2100))
        told = self.heard(b"".join(lines), way=lambda octets: [octets])
        assert len(told.statuses) == len(told.names) == MAX_FOLDERS

    @staticmethod
    def heard(said: bytes, way: Any = lambda octets: [octets]) -> Told:
        told, dialogue_said = Told(), []
        dialogue = Dialogue(dialogue_said.append, told.hear)
        dialogue.ask(List(frozenset()))
        for piece in way(said):
            dialogue.receive(piece)
        return told

    def test_what_is_asked_for(self) -> None:
        assert Notify().octets() == (
            b"NOTIFY SET STATUS (selected-delayed (MessageNew MessageExpunge)) "
            b"(personal (MessageNew MessageExpunge MailboxName))\r\n"
        )


class TestNotify:
    async def test_what_comes_to_any_folder_is_found_at_once(self, observing: Observing) -> None:
        async with (
            offering("Sent", "Customers") as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=PATIENT) as one,
        ):
            await observing.until_watching(one)
            assert mailbox.verbs()["STATUS"] == 2  # of folders that were opened, and left
            mailbox.deliver(sent("One"), "Sent")
            await observing.logged("One")
            mailbox.deliver(message("Two"))
            mailbox.deliver(message("Three"), "Customers")
            await observing.logged("One", "Two", "Three")
        assert mailbox.connections == 1
        assert mailbox.verbs()["NOTIFY"] == 1

    async def test_it_asks_nobody_after_what_was_read_before(self, observing: Observing) -> None:
        async with offering("Sent", "Customers") as mailbox:
            for _ in range(2):
                async with observing.observer(ANN, at(mailbox), rhythm=PATIENT) as one:
                    await observing.until_watching(one)
                    mailbox.commands.clear()
        async with mailbox, observing.observer(ANN, at(mailbox), rhythm=PATIENT) as one:
            await observing.until_watching(one)
            await observing.until(lambda: mailbox.verbs()["IDLE"] == 1)
        assert mailbox.verbs()["EXAMINE"] == 1
        assert mailbox.verbs()["STATUS"] == 0

    async def test_a_new_folder_is_read(self, observing: Observing) -> None:
        async with offering("Sent") as mailbox, observing.observer(ANN, at(mailbox), rhythm=PATIENT) as one:
            await observing.until_watching(one)
            mailbox.make("Customers")
            await observing.until(lambda: mailbox.verbs()["LIST"] == 2)
            mailbox.deliver(message("One"), "Customers")
            await observing.logged("One")
            mailbox.say('* LIST () "/" "Customers"')
            mailbox.deliver(message("Two"), "Customers")
            await observing.logged("One", "Two")
        assert mailbox.verbs()["LIST"] == 2

    async def test_a_folder_that_has_gone_again_is_looked_for_once(self, observing: Observing) -> None:
        async with offering("Sent") as mailbox, observing.observer(ANN, at(mailbox), rhythm=PATIENT) as one:
            await observing.until_watching(one)
            mailbox.say('* LIST () "/" "Gone"')
            await observing.until(lambda: mailbox.verbs()["LIST"] > 1)
            for subjects in (["One"], ["One", "Two"]):
                mailbox.deliver(message(subjects[-1]))
                await observing.logged(*subjects)
        assert mailbox.verbs()["LIST"] == 2

    async def test_folders_that_are_left_out_are_so_whatever_is_told_of_them(self, observing: Observing) -> None:
        async with (
            offering("Junk", "Drafts", "Sent") as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=PATIENT) as one,
        ):
            await observing.until_watching(one)
            for name in ("Junk", "Drafts"):
                mailbox.deliver(message(f"In {name}"), name)
            mailbox.deliver(message("Offer"))
            await observing.logged("Offer")
        opened = {each for each in mailbox.commands if each.startswith("EXAMINE")}
        assert opened == {'EXAMINE "INBOX"', 'EXAMINE "Sent"'}

    async def test_what_comes_to_a_folder_while_it_is_left_is_found(self, observing: Observing) -> None:
        """Nobody tells of it: it was open when the message came, and is not looked at any more."""
        async with offering("Sent") as mailbox, observing.observer(ANN, at(mailbox), rhythm=PATIENT) as one:
            await observing.until_watching(one)
            late = [sent("Three"), sent("Two")]

            def leave(name: str) -> None:
                if name == "INBOX" and late:
                    mailbox.deliver(late.pop(), "Sent", is_told=False)

            mailbox.on_examine = leave
            mailbox.deliver(sent("One"), "Sent")
            await observing.logged("One", "Two", "Three")

    async def test_it_is_not_asked_for_where_it_is_not_wanted(self, observing: Observing) -> None:
        async with (
            offering("Sent") as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=ROUNDS, notifies=False) as one,
        ):
            await observing.until_watching(one)
            mailbox.deliver(sent("One"), "Sent")
            await observing.logged("One")
        assert mailbox.verbs()["NOTIFY"] == 0


class Changing:
    """ANN's client changes its folders, until `end`."""

    def __init__(self, observing: Observing) -> None:
        self._now = 1000.0
        changes = observing.here.captures.folder_changes = FolderChanges(lambda: self._now)
        changes.note(ANN.upper())

    def end(self) -> None:
        """Half a minute goes by."""
        self._now += 30.0


class TestFoldersThatAClientChanges:
    @pytest.mark.parametrize("notify", ["yes", "refused"])
    async def test_they_are_left_alone_and_no_others(self, observing: Observing, notify: str) -> None:
        changing = Changing(observing)
        async with (
            offering("Customers", "Sent Items", notify=notify, uses={"Sent Items": "\\Sent"}) as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=ROUNDS) as one,
        ):
            await observing.until_watching(one)
            mailbox.commands.clear()
            mailbox.deliver(message("Left"), "Customers")
            mailbox.deliver(message("Came"))
            mailbox.deliver(sent("Sent"), "Sent Items")
            await observing.logged("Came", "Sent")
            await observing.until(lambda: mailbox.verbs()["IDLE"] > 3)
            assert not [each for each in mailbox.commands if "Customers" in each]
            changing.end()
            await observing.logged("Came", "Sent", "Left")

    async def test_what_came_to_them_before_they_were_seen_first_is_found(self, observing: Observing) -> None:
        changing = Changing(observing)
        async with offering("Customers") as mailbox, observing.observer(ANN, at(mailbox), rhythm=ROUNDS) as one:
            await observing.until_watching(one)
            mailbox.deliver(message("One"), "Customers")
            await observing.until(lambda: mailbox.verbs()["IDLE"] > 3)
            assert mailbox.verbs()["EXAMINE"] == 1
            changing.end()
            await observing.logged("One")


class TestServersThatDoNotTell:
    @pytest.mark.parametrize("notify", ["refused", "silent", "bye"])
    async def test_folders_are_asked_in_rounds(self, observing: Observing, notify: str) -> None:
        async with (
            offering("Sent", notify=notify) as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=ROUNDS) as one,
        ):
            await observing.until_watching(one)
            mailbox.deliver(sent("One"), "Sent")
            await observing.logged("One")
            mailbox.deliver(message("Two"))
            await observing.logged("One", "Two")
        assert mailbox.connections == (2 if notify == "bye" else 1)
        if notify != "silent":
            assert mailbox.verbs()["NOTIFY"] == 1

    async def test_a_server_that_cannot_keep_up_is_asked_from_then_on(self, observing: Observing) -> None:
        async with offering("Sent") as mailbox, observing.observer(ANN, at(mailbox), rhythm=ROUNDS) as one:
            await observing.until_watching(one)
            mailbox.say("* OK [NOTIFICATIONOVERFLOW] too much")
            await observing.until(lambda: mailbox.connections == 2)
            await observing.until_watching(one)
            mailbox.deliver(sent("One"), "Sent")
            await observing.logged("One")
        assert mailbox.verbs()["NOTIFY"] == 1
        assert mailbox.connections == 2

    async def test_a_server_that_forgets_to_tell_is_asked_now_and_then(self, observing: Observing) -> None:
        rhythm = Rhythm(answer=20.0, round=1500.0, safety=0.1)
        async with (
            offering("Sent", notify="deaf") as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=rhythm) as one,
        ):
            await observing.until_watching(one)
            mailbox.deliver(sent("One"), "Sent")
            await observing.logged("One")
        assert mailbox.connections == 1

    async def test_folders_that_nobody_tells_of_are_asked_beside_the_others(self, observing: Observing) -> None:
        async with (
            offering("Sent", "Shared", untold=frozenset(("Shared",))) as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=ROUNDS) as one,
        ):
            await observing.until_watching(one)
            mailbox.deliver(message("One"), "Shared")
            mailbox.deliver(sent("Two"), "Sent")
            await observing.logged("One", "Two")
            await observing.until(lambda: mailbox.commands.count('STATUS "Shared" (UIDNEXT UIDVALIDITY)') > 5)
        assert mailbox.commands.count('STATUS "Sent" (UIDNEXT UIDVALIDITY)') < 5

    async def test_a_folder_that_cannot_be_read_is_tried_again_soon(self, observing: Observing) -> None:
        async with (
            offering("Sent", refused=frozenset((1,))) as mailbox,
            observing.observer(ANN, at(mailbox), rhythm=ROUNDS) as one,
        ):
            await observing.until_watching(one)
            mailbox.deliver(sent("One"), "Sent")
            await observing.until(lambda: any("cannot be read" in each["event"] for each in observing.here.log))
            mailbox.refused = frozenset()
            await observing.logged("One")
        assert mailbox.connections == 1

    async def test_a_mailbox_with_nothing_but_inbox_may_get_a_folder(self, observing: Observing) -> None:
        async with PretendMailbox() as mailbox, observing.observer(ANN, at(mailbox), rhythm=ROUNDS) as one:
            await observing.until_watching(one)
            mailbox.deliver(sent("One"), "Sent")
            await observing.logged("One")
