"""Companions: who has one, with what credentials, and when it ends."""

from __future__ import annotations

import asyncio
import base64
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from accompanied import Accompanied, open_connections, pretend_provider
from debian_peers import PASSWORD
from imap_client import ImapClient
from observed_mailbox import message
from pretend_mailbox import PretendMailbox

from engine.secret import Secret
from onrecord.settings import load
from proxy.companions import OPENING, ROOM_SECONDS
from proxy.imap.wire import Credentials
from store.database import StoreUnavailable
from store.mailbox_secret import Password
from store.mailboxes import Mailboxes, MailboxRecord, NewMailbox
from store.observed import Observed
from store.sealing import Sealer, SealingKey

ANN = "ann@acme.example"
REFUSED = "NO [AUTHENTICATIONFAILED] wrong"


def _password(text: str = "one") -> Credentials:
    return Credentials(None, (Secret(ANN.encode()), Secret(text.encode())))


def _plain(*parts: str) -> Credentials:
    return Credentials(b"PLAIN", (Secret(base64.b64encode("\0".join(parts).encode())),))


@pytest_asyncio.fixture
async def mailbox() -> AsyncIterator[PretendMailbox]:
    async with PretendMailbox() as running:
        yield running


@pytest_asyncio.fixture
async def relay(tmp_path: Path, mailbox: PretendMailbox) -> AsyncIterator[Accompanied]:
    async with Accompanied(tmp_path, pretend_provider(mailbox)) as running:
        yield running


async def _until_watching(relay: Accompanied, mailbox: PretendMailbox, *, times: int = 1) -> None:
    """A companion has read all and waits on INBOX."""
    await relay.until(lambda: mailbox.verbs()["IDLE"] >= times and bool(mailbox._idling))


async def _logged(relay: Accompanied, *subjects: str) -> None:
    async with asyncio.timeout(20):
        while len(emails := await relay.emails()) < len(subjects):
            await asyncio.sleep(0.01)
    assert sorted(each.subject for each in emails) == sorted(subjects)


class TestBesideAClient:
    async def test_what_comes_is_logged_while_the_client_does_nothing(
        self, relay: Accompanied, mailbox: PretendMailbox
    ) -> None:
        mailbox.deliver(message("Before"))
        mailbox.folders["Customers"] = []
        async with ImapClient(relay.port) as client:
            await client.begin(ANN)
            await _until_watching(relay, mailbox)
            mailbox.deliver(message("Offer"))
            await _logged(relay, "Offer")
            mailbox.deliver(message("Filtered"), "Customers")
            await _logged(relay, "Offer", "Filtered")
        assert [each.source for each in await relay.decisions()] == ["observer"] * 2

    async def test_clients_of_one_account_share_one(self, relay: Accompanied, mailbox: PretendMailbox) -> None:
        async with ImapClient(relay.port) as client, ImapClient(relay.port) as other:
            await client.begin(ANN)
            await other.begin("ANN@acme.example")
            await _until_watching(relay, mailbox)
            assert len(relay.companions) == 1
            assert mailbox.connections == 3

    async def test_it_ends_with_the_last_client_and_lets_go_of_the_credentials(
        self, relay: Accompanied, mailbox: PretendMailbox
    ) -> None:
        async with ImapClient(relay.port) as client:
            await client.begin(ANN)
            async with ImapClient(relay.port) as other:
                await other.begin(ANN)
                await _until_watching(relay, mailbox)
            await _until_open(mailbox, 2)
            assert len(relay.companions) == 1
            assert len(_credentials_in_memory()) == 1
        await _until_open(mailbox, 0)
        assert len(relay.companions) == 0
        assert _credentials_in_memory() == []

    async def test_the_next_one_goes_on_where_the_last_one_ended(
        self, relay: Accompanied, mailbox: PretendMailbox
    ) -> None:
        async with ImapClient(relay.port) as client:
            await client.begin(ANN)
            await _until_watching(relay, mailbox)
        await _until_open(mailbox, 0)
        mailbox.deliver(message("Meanwhile"))
        async with ImapClient(relay.port) as client:
            await client.begin(ANN)
            await _logged(relay, "Meanwhile")

    async def test_how_far_it_has_read_is_kept_for_its_provider(
        self, relay: Accompanied, mailbox: PretendMailbox
    ) -> None:
        async with ImapClient(relay.port) as client:
            await client.begin(ANN)
            await _until_watching(relay, mailbox)
        await relay.until_idle()
        observed = Observed(relay.database)
        assert await observed.progress("another", ANN) == {}
        assert list(await observed.progress(relay.provider.name, ANN)) == list(mailbox.folders)

    async def test_the_end_of_the_program_closes_it(self, relay: Accompanied, mailbox: PretendMailbox) -> None:
        async with ImapClient(relay.port) as client:
            await client.begin(ANN)
            await _until_watching(relay, mailbox)
            stopping = asyncio.ensure_future(relay.relay.stop())
            await _until_open(mailbox, 0)
            await stopping
        assert len(relay.companions) == 0
        assert relay.join(ANN, _password()) is None

    async def test_a_client_that_looks_again_and_again_opens_few(self, tmp_path: Path, mailbox: PretendMailbox) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await asyncio.Event().wait()

        async with Accompanied(tmp_path, pretend_provider(mailbox), spacing=900.0, sleep=sleep) as relay:
            for number in range(3):
                companion = relay.join(ANN, _password())
                await relay.until(lambda number=number: len(slept) == number and mailbox.connections == 1)
                relay.companions.leave(companion)
            assert all(899.0 < each <= 900.0 for each in slept)
            assert len(slept) == 2


class TestWhoHasOne:
    @pytest.mark.parametrize(
        "login",
        ["dee@acme.example", "eve@acme.example", "cy@acme.example", "sales@acme.example", "kim@cust.example", "nobody"],
        ids=["no access", "inactive", "not connected", "alias", "contact", "stranger"],
    )
    @pytest.mark.parametrize("at_hand", [True, False])
    async def test_nobody_else_than_users_who_gave_access(
        self, relay: Accompanied, mailbox: PretendMailbox, login: str, at_hand: bool
    ) -> None:
        for _ in range(2 if at_hand else 1):
            companion = relay.join(login, _password())
            await relay.until(lambda: not len(relay.companions))
        assert (companion is None) is at_hand
        assert companion is None or (companion.credentials, companion.task) == (None, None)
        assert mailbox.connections == 0

    async def test_a_bare_name_is_completed(self, tmp_path: Path, mailbox: PretendMailbox) -> None:
        provider = pretend_provider(mailbox, login_domain="acme.example")
        async with Accompanied(tmp_path, provider) as relay, ImapClient(relay.port) as client:
            await client.begin("ann")
            await _until_watching(relay, mailbox)
            assert 'LOGIN "ann" "correct horse battery"' in mailbox.commands[1:]

    async def test_none_where_the_provider_is_set_so(self, tmp_path: Path, mailbox: PretendMailbox) -> None:
        async with Accompanied(tmp_path, pretend_provider(mailbox, companion=False)) as relay:
            assert relay.join(ANN, _password()) is None

    def test_the_settings_say_for_which_providers(self, tmp_path: Path) -> None:
        path = tmp_path / "onrecord.toml"
        table = '[[provider]]\nname = "%s"\nkind = "imap"\nhost = "imap.example"\n%s\n'
        path.write_text(table % ("one", "companion = false") + table % ("two", ""))
        assert [each.companion for each in load(path).provider] == [False, True]

    @pytest.mark.parametrize(
        "credentials",
        [None, _plain("bob@acme.example", ANN, "one"), _plain(ANN, "one"), Credentials(b"PLAIN", (Secret(b"?"),))],
        ids=["not again", "for another", "too few parts", "no base64"],
    )
    async def test_none_with_credentials_that_open_no_mailbox_of_its_own(
        self, relay: Accompanied, credentials: Credentials | None
    ) -> None:
        assert relay.join(ANN, credentials) is None

    @pytest.mark.parametrize("credentials", [_plain("", ANN, "one"), _plain(ANN, ANN, "one")])
    async def test_a_login_that_names_itself_twice_has_one(
        self, relay: Accompanied, mailbox: PretendMailbox, credentials: Credentials
    ) -> None:
        companion = relay.join(ANN, credentials)
        await _until_watching(relay, mailbox)
        relay.companions.leave(companion)

    async def test_none_where_the_mailbox_is_connected_and_observed(
        self, relay: Accompanied, mailbox: PretendMailbox
    ) -> None:
        await _connect(relay, server="mail")
        companion = relay.join(ANN, _password())
        await relay.until(lambda: companion.credentials is None)
        assert mailbox.connections == 0

    @pytest.mark.parametrize("why", ["elsewhere", "needs reconnect"])
    async def test_one_where_the_connected_mailbox_is_not_observed(
        self, relay: Accompanied, mailbox: PretendMailbox, why: str
    ) -> None:
        record = await _connect(relay, server="mail" if why != "elsewhere" else "other")
        if why != "elsewhere":
            mailboxes = Mailboxes(relay.database, Sealer(list))
            assert await mailboxes.need_reconnect(record.id, 1, "gone")
        companion = relay.join(ANN, _password())
        await _until_watching(relay, mailbox)
        relay.companions.leave(companion)

    async def test_access_that_is_withdrawn_ends_it(self, relay: Accompanied, mailbox: PretendMailbox) -> None:
        async with ImapClient(relay.port) as client:
            await client.begin(ANN)
            await _until_watching(relay, mailbox)
            await relay.companions.look()
            assert len(relay.companions) == 1
            await relay.directory.set_user("P1", ANN, personal_email_access=False)
            await relay.companions.look()
            assert len(relay.companions) == 0
            await _until_open(mailbox, 1)
            assert b"OK" in await client.command(b"a NOOP")
        await relay.until_idle()


class TestCredentials:
    async def test_a_refused_login_ends_it_until_others_come(self, relay: Accompanied, mailbox: PretendMailbox) -> None:
        """The same might lock the account; and the client goes on as if nothing was."""
        mailbox.logins = ["OK in", REFUSED]
        async with ImapClient(relay.port) as client, ImapClient(relay.port) as other, ImapClient(relay.port) as third:
            await client.begin(ANN)
            await _until_open(mailbox, 3)
            await relay.until(lambda: mailbox.verbs()["LOGIN"] == 2 and not _credentials_in_memory())
            assert b"OK" in await client.command(b"a NOOP")
            await other.begin(ANN)
            await relay.until(lambda: not relay._lookups.asking)
            assert mailbox.verbs()["LOGIN"] == 3
            assert _credentials_in_memory() == []
            await third.greet()
            await third.enter(ANN, "another")
            await _until_watching(relay, mailbox)
            assert mailbox.commands.count(f'LOGIN "{ANN}" "another"') == 2

    async def test_a_refused_login_may_be_tried_again_when_all_clients_have_left(
        self, relay: Accompanied, mailbox: PretendMailbox
    ) -> None:
        mailbox.logins = [REFUSED]
        companion = relay.join(ANN, _password())
        await relay.until(lambda: companion.refused != b"")
        relay.companions.leave(companion)
        companion = relay.join(ANN, _password())
        await _until_watching(relay, mailbox)
        relay.companions.leave(companion)

    async def test_a_passing_refusal_is_waited_out(self, relay: Accompanied, mailbox: PretendMailbox) -> None:
        mailbox.logins = ["NO [LIMIT] too many", "NO [UNAVAILABLE] later"]
        companion = relay.join(ANN, _password())
        await _until_watching(relay, mailbox)
        assert mailbox.verbs()["LOGIN"] == 3
        relay.companions.leave(companion)

    async def test_a_client_that_finds_no_place_gets_that_of_its_companion(
        self, tmp_path: Path, mailbox: PretendMailbox
    ) -> None:
        slept: list[float] = []
        is_over = asyncio.Event()

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await is_over.wait()

        async with (
            Accompanied(tmp_path, pretend_provider(mailbox), sleep=sleep) as relay,
            ImapClient(relay.port) as client,
            ImapClient(relay.port) as other,
        ):
            await client.begin(ANN)
            await _until_watching(relay, mailbox)
            mailbox.logins = ["NO [LIMIT] too many"]
            await other.greet()
            assert b"login NO [LIMIT]" in await other.enter(ANN)
            await relay.until(lambda: slept == [ROOM_SECONDS])
            await _until_open(mailbox, 2)
            assert b"login OK" in await other.enter(ANN)
            assert mailbox.verbs()["LOGIN"] == 4
            is_over.set()
            await _until_watching(relay, mailbox, times=2)
            assert mailbox.verbs()["LOGIN"] == 5

    async def test_newer_ones_are_for_the_next_opening(self, relay: Accompanied, mailbox: PretendMailbox) -> None:
        companion = relay.join(ANN, _password("old"))
        await _until_watching(relay, mailbox)
        assert relay.join(ANN, _password("new")) is companion
        assert mailbox.connections == 1
        mailbox.idle = "bye"
        mailbox.deliver(message("Offer"))  # so that IDLE is begun anew
        await relay.until(lambda: mailbox.verbs()["LOGIN"] == 2)
        assert [each for each in mailbox.commands if "LOGIN" in each] == [
            f'LOGIN "{ANN}" "old"',
            f'LOGIN "{ANN}" "new"',
        ]
        await _logged(relay, "Offer")
        relay.companions.stop()

    async def test_newer_ones_are_tried_at_once_when_the_older_are_refused(
        self, relay: Accompanied, mailbox: PretendMailbox
    ) -> None:
        mailbox.silent = {"LOGIN"}
        companion = relay.join(ANN, _password("old"))
        await relay.until(lambda: mailbox.verbs()["LOGIN"] == 1)
        relay.join(ANN, _password("new"))
        mailbox.silent = set()
        mailbox._all[0].say(b"onrecord " + REFUSED.encode())
        await _until_watching(relay, mailbox)
        assert companion.refused == b""
        relay.companions.stop()

    @pytest.mark.parametrize("mechanism", ["LOGIN", "PLAIN", "XOAUTH2"])
    async def test_no_secret_is_shown(self, relay: Accompanied, mailbox: PretendMailbox, mechanism: str) -> None:
        said = {
            "LOGIN": _password("hunter2"),
            "PLAIN": _plain("", ANN, "hunter2"),
            "XOAUTH2": Credentials(
                b"XOAUTH2", (Secret(base64.b64encode(f"user={ANN}\1auth=Bearer hunter2\1\1".encode())),)
            ),
        }[mechanism]
        secrets = {"hunter2", *(each.reveal().decode() for each in said.said)} - {ANN}
        mailbox.capabilities += " AUTH=XOAUTH2"
        mailbox.logins = [f"NO [UNAVAILABLE] {each}" for each in secrets] + [f"NO no {each}" for each in secrets]
        companion = relay.join(ANN, said)
        shown = repr(companion)
        await relay.until(lambda: companion.refused != b"")
        shown += repr(companion) + repr(relay.log) + repr(companion.refused)
        assert not [each for each in secrets if each in shown]
        relay.companions.leave(companion)


class TestBounds:
    async def test_few_are_opened_at_a_time(self, relay: Accompanied, mailbox: PretendMailbox) -> None:
        mailbox.silent = {"LOGIN"}
        logins = [f"user-{number}@acme.example" for number in range(OPENING + 5)]
        for login in logins:
            await relay.directory.add_user("P1", login, connected=[login])
        companions = [relay.join(login, _password()) for login in logins]
        await relay.until(lambda: mailbox.verbs()["LOGIN"] == OPENING)
        for _ in range(50):
            await asyncio.sleep(0)
        assert mailbox.connections == OPENING
        for each in companions[:5]:
            relay.companions.leave(each)
        await relay.until(lambda: mailbox.verbs()["LOGIN"] == OPENING + 5)
        relay.companions.stop()
        await _until_open(mailbox, 0)

    async def test_a_store_that_is_away_is_asked_again(
        self, tmp_path: Path, mailbox: PretendMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            monkeypatch.undo()

        async def is_away(question: Any) -> Any:
            raise StoreUnavailable("away")

        async with Accompanied(tmp_path, pretend_provider(mailbox), sleep=sleep) as relay:
            monkeypatch.setattr(relay.captures.directory, "ask", is_away)
            monkeypatch.setattr(relay.captures.directory, "answer", lambda question: None)
            companion = relay.join(ANN, _password())
            await _until_watching(relay, mailbox)
            assert len(slept) == 1
            relay.companions.leave(companion)

    async def test_a_failure_is_told_and_ends_nothing_else(
        self, relay: Accompanied, mailbox: PretendMailbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(address: str) -> Any:
            raise RuntimeError("a bug")

        async with ImapClient(relay.port) as client:
            monkeypatch.setattr(relay.companions._observed, "connected_servers", fails)
            await client.begin(ANN)
            await relay.until(lambda: any(each["event"] == "a companion failed" for each in relay.log))
            assert len(relay.companions) == 0
            assert _credentials_in_memory() == []
            assert b"OK" in await client.command(b"a NOOP")


async def _until_open(mailbox: PretendMailbox, connections: int) -> None:
    """Waits until so many connections are open."""
    async with asyncio.timeout(20):
        while open_connections(mailbox) != connections:
            await asyncio.sleep(0.001)


async def _connect(relay: Accompanied, *, server: str) -> MailboxRecord:
    key = SealingKey.make()
    new = NewMailbox(
        address=ANN, server=server, login=ANN, mechanism="PLAIN", issuer=None, secret=Password(Secret(b"sealed"))
    )
    home, user = await relay.directory.portal("P1"), await relay.directory.user("P1", ANN)
    return await Mailboxes(relay.database, Sealer(lambda: [key])).connect(relay.directory, home, user, new)


def _credentials_in_memory() -> list[Credentials]:
    """Those that clients of this module have said on the wire."""
    gc.collect()
    said = PASSWORD.encode()
    return [each for each in gc.get_objects() if type(each) is Credentials and each.said[-1].reveal() == said]
