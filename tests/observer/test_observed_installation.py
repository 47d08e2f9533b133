"""The program as people run it, with mailboxes connected by command: what comes is logged, once, whatever breaks.

It is started once for all tests here; each has a user of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from debian_peers import LOGINS, PASSWORD, need
from observed_installation import Installation, installation
from observed_mailbox import message
from pki import Pki
from smtp_client import Client

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="module")]

ANN, BOB = LOGINS
KIM = "kim@cust.example"
PRIVATE = ("zebrasubject", "yaksubject", "xerussubject", "walrusbody")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    async with installation(pki, tmp_path_factory.mktemp("observed")) as running:
        yield running


@pytest.fixture
def here(running: Installation) -> Installation:
    running.begin()
    return running


@dataclass(frozen=True, slots=True)
class User:
    """One with a mailbox that is connected and observed."""

    here: Installation
    login: str

    async def gets(self, subject: str, **more: Any) -> None:
        await self.here.dovecot.deliver(self.login, self._own(message(subject, to=self.login, **more)))

    async def sends(self, subject: str, *, to: str = KIM) -> None:
        """By another way than the relay: only the copy in Sent tells of it."""
        await self.here.dovecot.deliver(self.login, self.written(subject, to=to), "Sent")

    def written(self, subject: str, *, to: str = KIM) -> bytes:
        return self._own(message(subject, author=self.login, to=to))

    def message_id(self, subject: str) -> str:
        return f"{subject}.{self.login.partition('@')[0]}@cust.example"

    def _own(self, content: bytes) -> bytes:
        """With a Message-ID that no other test has."""
        return content.replace(b"@cust.example>\r\n", f".{self.login.partition('@')[0]}@cust.example>\r\n".encode())


@pytest_asyncio.fixture(loop_scope="module")
async def user(here: Installation) -> User:
    login = await here.new_user()
    await here.connect(login)
    await here.observed(login)
    return User(here, login)


class TestWhatComes:
    async def test_mail_is_logged_as_incoming_or_outgoing(self, here: Installation, user: User) -> None:
        """Nobody reads it through onrecord, and it was not sent through onrecord."""
        await user.gets("Offer")
        await here.logged("Offer")
        await user.sends("Answer")
        await here.logged("Offer", "Answer")
        emails = (await here.onrecord("emails", "--user", user.login, "--json")).json
        assert {each["subject"]: each["direction"] for each in emails} == {"Offer": "incoming", "Answer": "outgoing"}
        await here.decided("received_from_contact", "sent_to_contact")

    async def test_what_was_there_before_is_not_logged(self, here: Installation) -> None:
        user = User(here, await here.new_user())
        await user.gets("Before")
        await user.sends("Sent before")
        await here.connect(user.login)
        await here.observed(user.login)
        await user.gets("After")
        await here.logged("After")
        await here.decided("received_from_contact")

    async def test_what_was_relayed_and_saved_in_sent_is_one_record(self, here: Installation, user: User) -> None:
        async with Client(here.served.port) as client:
            await client.begin(user.login)
            answer = await client.submit(user.written("Relayed"), sender=user.login.encode())
            assert answer.startswith(b"250")
        await user.sends("Relayed")
        await here.decided("sent_to_contact", "sent_to_contact")
        await here.logged("Relayed")

    async def test_nothing_private_and_no_password_is_in_any_file(self, here: Installation, user: User) -> None:
        await here.directory.add_contact("P1", "v@secret.example")  # whose domain is on Never Log
        await user.gets("zebrasubject", author="aunt@home.example", body=b"walrusbody\r\n")
        await user.gets("yaksubject", author="v@secret.example", body=b"walrusbody\r\n")
        await user.sends("xerussubject", to="aunt@home.example")
        await here.dovecot.deliver(user.login, message("walrusbody"), "Trash")
        await user.gets("Offer", body=b"pangolinbody\r\n")
        await here.logged("Offer")
        await here.decided(*["no_existing_contact"] * 2, "all_contacts_never_log", "received_from_contact")
        assert await _files_with(here.served.folder, *PRIVATE, PASSWORD) == []
        assert await here.served.terminate() == 0
        assert await _files_with(here.served.folder, *PRIVATE, PASSWORD) == []
        assert await _files_with(here.served.folder, user.login) != []
        assert PASSWORD not in repr(here.told)
        await here.served.start()


class TestWhatBreaks:
    async def test_the_process_of_the_observers_is_killed(self, here: Installation, user: User) -> None:
        """While mail comes, and three times; each time another process goes on."""
        subjects = [f"Number {number}" for number in range(24)]
        for number, subject in enumerate(subjects):
            await (user.gets if number % 3 else user.sends)(subject)
            if number % 8 == 5:
                os.kill(await here.observers(), signal.SIGKILL)
        await here.logged(*subjects)
        await here.observed(user.login)
        await here.decided(*["received_from_contact"] * 16, *["sent_to_contact"] * 8)

    async def test_the_whole_program_is_killed(self, here: Installation, user: User) -> None:
        await user.gets("Before")
        await here.served.kill()
        await user.gets("Meanwhile")
        await user.sends("Sent meanwhile")
        await here.served.start()
        await here.logged("Before", "Meanwhile", "Sent meanwhile")
        await here.observed(user.login)
        await user.gets("After")
        await here.logged("Before", "Meanwhile", "Sent meanwhile", "After")
        await here.decided(*["received_from_contact"] * 3, "sent_to_contact")

    async def test_dovecot_is_killed(self, here: Installation, user: User) -> None:
        await user.gets("Before")
        await here.dovecot.kill()
        await here.observed(user.login, state="lost")
        await here.dovecot.start_again()
        await user.gets("Meanwhile")
        await here.logged("Before", "Meanwhile")
        await here.decided("received_from_contact", "received_from_contact")

    async def test_the_network_between_is_lost_without_a_word(self, here: Installation, user: User) -> None:
        """Nobody closes a connection, and nobody acknowledges: the kernel notices, and says so after half a minute."""
        await user.gets("Before")
        await here.logged("Before")
        here.line.gone()
        try:
            await user.gets("Meanwhile")
            await user.sends("Sent meanwhile")
            await here.observed(user.login, state="lost")
        finally:
            here.line.mend()
        await here.logged("Before", "Meanwhile", "Sent meanwhile")
        await here.decided("received_from_contact", "received_from_contact", "sent_to_contact")


class TestGapsClose:
    async def test_mail_whose_outcome_was_unknown_shows_in_sent(self, here: Installation, user: User) -> None:
        """The provider was lost when it had all of the message, and it was sent all the same."""

        def lost(conversation: Any, line: bytes) -> bytes:
            conversation.abort()
            return b""

        here.sending.replies["end of data"] = lost
        async with Client(here.served.port) as client:
            await client.begin(user.login)
            answer = await client.submit(user.written("Doubtful"), sender=user.login.encode())
            assert answer.startswith(b"451")
        del here.sending.replies["end of data"]
        await _until_gaps(here, [("outcome_unknown", False)])
        told = (await here.onrecord("explain", user.message_id("Doubtful"), "--json")).json
        assert "may have been sent or not" in told["explanation"]
        assert told["email"] is None
        await user.sends("Doubtful")
        await here.logged("Doubtful")
        await _until_gaps(here, [("outcome_unknown", True)])
        told = (await here.onrecord("explain", user.message_id("Doubtful"), "--json")).json
        assert told["email"]["subject"] == "Doubtful"
        assert "Missing" not in told["explanation"]


class TestWhoMay:
    async def test_a_mailbox_that_is_disconnected_is_let_go_of(self, here: Installation, user: User) -> None:
        await user.gets("Before")
        await here.logged("Before")
        await here.onrecord("mailbox", "disconnect", user.login)
        await here.left(user.login)
        await user.gets("Meanwhile")
        await user.sends("Sent meanwhile")
        await here.connect(user.login)
        await here.observed(user.login)
        await user.gets("After")
        await here.logged("Before", "After")
        await here.decided("received_from_contact", "received_from_contact")

    async def test_what_comes_while_a_user_gives_no_access_is_not_read(self, here: Installation, user: User) -> None:
        """Not then, and not later: rights count as they are when mail comes (rules.md 3.6)."""
        await user.gets("Before")
        await here.logged("Before")
        await here.onrecord("user", "set", user.login, "--no-personal-email-access")
        await here.observed(user.login, state=None)
        await here.left(user.login)
        await user.gets("Meanwhile")
        await user.sends("Sent meanwhile")
        status = (await here.onrecord("mailbox", "status", user.login, "--json")).json
        assert [(each["state"], each["observer"]) for each in status] == [("ok", None)]
        await here.onrecord("user", "set", user.login, "--personal-email-access")
        await here.observed(user.login)
        await user.gets("After")
        await here.logged("Before", "After")
        await here.decided("received_from_contact", "received_from_contact")

    async def test_connecting_anew_with_another_password_goes_on(self, here: Installation) -> None:
        await here.connect(ANN)
        await here.observed(ANN)
        user = User(here, ANN)
        await user.gets("Before")
        await here.logged("Before")
        _change_password(here, ANN, "another word")
        await here.dovecot.kill()
        await here.dovecot.start_again()
        await user.gets("Meanwhile")
        await here.observed(ANN, state="refused")
        status = await here.onrecord("mailbox", "status", ANN, "--json")
        assert status.json[0]["observer"] == "refused"
        assert "AUTHENTICATIONFAILED" in status.json[0]["trouble"]
        await here.connect(ANN, password="another word")
        await here.logged("Before", "Meanwhile")
        await here.observed(ANN)

    async def test_a_mailbox_that_does_not_open_keeps_no_other_from_the_log(
        self, here: Installation, user: User
    ) -> None:
        await here.connect(BOB)
        await here.observed(BOB)
        _change_password(here, BOB, "another word")
        await here.dovecot.kill()
        await here.dovecot.start_again()
        await here.observed(BOB, state="refused")
        await User(here, BOB).gets("To Bob")
        await user.gets("To the other")
        await here.logged("To the other")
        await here.observed(user.login)
        status = (await here.onrecord("mailbox", "status", "--json")).json
        states = {each["address"]: each["observer"] for each in status}
        assert (states[BOB], states[user.login]) == ("refused", "watching")

    async def test_the_state_is_told_and_since_when_it_is(self, here: Installation, user: User) -> None:
        (status,) = (await here.onrecord("mailbox", "status", user.login, "--json")).json
        assert (status["state"], status["observer"], status["trouble"]) == ("ok", "watching", None)
        assert status["observer_since"] >= status["connected_at"]
        await here.served.terminate()
        (status,) = (await here.onrecord("mailbox", "status", user.login, "--json")).json
        assert (status["observer"], status["observer_since"]) == (None, None)
        await here.served.start()


async def _until_gaps(here: Installation, gaps: list[tuple[str, bool]]) -> None:
    """The gaps, and whether they are closed, are these at last."""
    async with asyncio.timeout(60):
        while here.served.rows("select kind, closed_at is not null from gap") != gaps:
            await asyncio.sleep(0.05)


def _change_password(here: Installation, login: str, password: str) -> None:
    logins = here.dovecot.folder / "logins"
    lines = [line for line in logins.read_text().splitlines() if not line.startswith(f"{login}:")]
    logins.write_text("\n".join([*lines, f"{login}:{{PLAIN}}{password}::::::", ""]))


async def _files_with(folder: Path, *words: str) -> list[str]:
    """The files that hold one of the words. Another process reads them: whoever closes a file of a database gives up
    the locks that his own process has on it.
    """
    patterns = [part for word in words for part in ("-e", word)]
    grep = await asyncio.create_subprocess_exec(
        *("grep", "--recursive", "--files-with-matches", "--fixed-strings", *patterns, str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await grep.communicate()
    assert grep.returncode in (0, 1)
    return output.decode().splitlines()
