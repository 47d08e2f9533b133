"""One observer for each connected mailbox, as the store and the settings say; servers here are pretended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from observed_mailbox import Observing, message
from pki import Pki
from pretend_mailbox import PretendMailbox
from served import to_toml

from engine.secret import Secret
from onrecord import observing as observing_module
from onrecord.observing import observe
from onrecord.settings import load
from store.database import StoreUnavailable
from store.mailbox_secret import Password
from store.mailboxes import Mailboxes, MailboxRecord, NewMailbox
from store.sealing import Sealer, SealingKey

ANN, BOB = "ann@acme.example", "bob@acme.example"


@pytest_asyncio.fixture
async def observing(tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Observing]:
    monkeypatch.setattr(observing_module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(observing_module, "REREAD_SECONDS", 0.02)
    async with Observing.started(tmp_path, pki) as started:
        yield started


class Connected:
    """The connected mailboxes of an installation whose settings name `servers`."""

    def __init__(self, observing: Observing, folder: Path, servers: dict[str, PretendMailbox]) -> None:
        self.observing = observing
        self.here = observing.here
        table = {"kind": "imap", "host": "127.0.0.1", "tls": "none"}
        providers = [table | {"name": name, "port": each.port} for name, each in servers.items()]
        config = folder / "onrecord.toml"
        config.write_text(to_toml({"data": folder, "hash_key_file": "hash.key", "provider": providers}))
        self.settings = load(config)
        if not self.settings.key_ring().exists:
            self.settings.key_ring().write([SealingKey.make()])
        self.mailboxes = Mailboxes(self.here.database, Sealer(self.settings.key_ring().read))

    async def connect(self, address: str, *, server: str = "one", portal: str = "P1") -> MailboxRecord:
        new = NewMailbox(
            address=address, server=server, login=address, mechanism="PLAIN", issuer=None,
            secret=Password(Secret(b"hunter2")),
        )  # fmt: skip
        home = await self.here.directory.portal(portal)
        owner = await self.here.directory.user(portal, address)
        return await self.mailboxes.connect(self.here.directory, home, owner, new)

    async def disconnect(self, address: str, *, portal: str = "P1") -> None:
        await self.mailboxes.disconnect(self.here.directory, await self.here.directory.portal(portal), address)

    @contextlib.asynccontextmanager
    async def observed(self) -> AsyncIterator[asyncio.Event]:
        """The observers at work, ended in their own way when the event is set."""
        stop = asyncio.Event()
        contexts = dict.fromkeys(self.settings.provider)
        task = asyncio.create_task(observe(self.settings, contexts, self.here.database, self.here.captures, stop))
        try:
            yield stop
            assert stop.is_set() or not task.done()
        finally:
            stop.set()
            await task

    async def states(self) -> dict[tuple[str, str], str | None]:
        return {(each.portal, each.address): each.observer for each in await self.mailboxes.all()}

    async def until_states(self, states: dict[tuple[str, str], str | None]) -> None:
        async with asyncio.timeout(20):
            while await self.states() != states:
                await asyncio.sleep(0.02)

    async def until(self, *watching: str, portal: str = "P1") -> None:
        """Waits until these are watched in the portal."""
        async with asyncio.timeout(20):
            while {(portal, each) for each in watching} - {
                key for key, state in (await self.states()).items() if state == "watching"
            }:
                await asyncio.sleep(0.02)


class TestWhichAreObserved:
    async def test_each_that_is_connected_until_it_is_disconnected(self, observing: Observing, tmp_path: Path) -> None:
        async with PretendMailbox() as one, PretendMailbox() as two:
            connected = Connected(observing, tmp_path, {"one": one, "two": two})
            await connected.connect(ANN)
            async with connected.observed():
                await connected.until(ANN)
                await connected.connect(BOB, server="two")
                await connected.until(ANN, BOB)
                one.deliver(message("To Ann"))
                two.deliver(message("To Bob", to=BOB))
                await observing.logged("To Ann", "To Bob")
                await connected.disconnect(ANN)
                await observing.until(lambda: not one.is_used)
                one.deliver(message("Not logged"))
                two.deliver(message("Logged", to=BOB))
                await observing.logged("To Ann", "To Bob", "Logged")
        assert (one.connections, two.connections) == (1, 1)

    async def test_one_whose_provider_the_settings_do_not_name_is_told_once(
        self, observing: Observing, tmp_path: Path
    ) -> None:
        async with PretendMailbox() as one, PretendMailbox() as two:
            connected = Connected(observing, tmp_path, {"one": one, "two": two})
            await connected.connect(ANN)
            await connected.connect(BOB, server="two")
            connected = Connected(observing, tmp_path, {"one": one})
            async with connected.observed():
                await connected.until(ANN)
                one.deliver(message("Offer"))
                await observing.logged("Offer")
            states = await connected.states()
        told = [each for each in observing.here.log if "settings do not name" in each["event"]]
        assert [(each["server"], each["log_level"]) for each in told] == [("two", "error")]
        assert states[("P1", BOB)] is None
        assert two.connections == 0

    async def test_one_that_two_portals_have_connected_is_observed_once_and_for_both(
        self, observing: Observing, tmp_path: Path
    ) -> None:
        directory = observing.here.directory
        await directory.add_portal("P2", rule="all")
        await directory.add_user("P2", ANN, connected=[ANN])
        await directory.add_contact("P2", "kim@cust.example")
        async with PretendMailbox() as one:
            connected = Connected(observing, tmp_path, {"one": one})
            await connected.connect(ANN)
            await connected.connect(ANN, portal="P2")
            async with connected.observed():
                await connected.until(ANN)
                one.deliver(message("Both"))
                await observing.logged("Both", "Both")
                assert one.connections == 1
                await connected.until(ANN, portal="P2")
                await directory.set_user("P2", ANN, active=False)
                await connected.until_states({("P1", ANN): "watching", ("P2", ANN): None})
                await directory.set_user("P2", ANN, active=True)
                await connected.until_states({("P1", ANN): "watching", ("P2", ANN): "watching"})
                between = [message("Between")]
                one.on_examine = lambda name: between and one.deliver(between.pop())
                await connected.disconnect(ANN)
                await observing.until(lambda: one.connections == 2)
                await connected.until(ANN, portal="P2")
                await observing.logged("Both", "Both", "Between", "Between")


class TestWhatBreaks:
    async def test_while_the_store_is_away_what_is_observed_stays_so(
        self, observing: Observing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = [0]

        async def away(self: Mailboxes, *arguments: Any) -> Any:
            asked[0] += 1
            raise StoreUnavailable("away")

        async with PretendMailbox() as one:
            connected = Connected(observing, tmp_path, {"one": one})
            await connected.connect(ANN)
            with monkeypatch.context() as broken:
                for name in ("observable", "note_observers", "forget_observers"):
                    broken.setattr(Mailboxes, name, away)
                async with connected.observed():
                    await observing.until(lambda: asked[0] > 2)
                    broken.undo()
                    await connected.until(ANN)
                    for name in ("observable", "note_observers"):
                        broken.setattr(Mailboxes, name, away)
                    before = asked[0]
                    await observing.until(lambda: asked[0] > before + 2)
                    one.deliver(message("Offer"))
                    await observing.logged("Offer")
                    broken.undo()
            assert one.connections == 1
            assert (await connected.states()) == {("P1", ANN): None}

    async def test_states_that_a_killed_process_has_left_are_swept(self, observing: Observing, tmp_path: Path) -> None:
        async with PretendMailbox(silent={"LIST"}) as one:
            connected = Connected(observing, tmp_path, {"one": one})
            ann, bob = await connected.connect(ANN), await connected.connect(BOB)
            await connected.mailboxes.note_observers({ann.id: "watching", bob.id: "watching"})
            await observing.here.directory.set_user("P1", BOB, active=False)
            async with connected.observed():
                await connected.until_states({("P1", ANN): "reading", ("P1", BOB): None})

    async def test_the_end_leaves_no_connection_and_no_state(self, observing: Observing, tmp_path: Path) -> None:
        async with PretendMailbox() as one:
            connected = Connected(observing, tmp_path, {"one": one})
            await connected.connect(ANN)
            async with connected.observed() as stop:
                await connected.until(ANN)
                stop.set()
            await observing.until(lambda: not one.is_used)
            assert await connected.states() == {("P1", ANN): None}
