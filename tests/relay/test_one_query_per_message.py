"""What a message that is relayed costs the store: one question at most, whatever it is like and however old is what is
known.

Counted are the connections that the store's pool hands out: each stands for one question, gathered of all that is
asked within one turn of the loop. The relay, its look-ups and its store are the program's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from in_process import InProcess
from pki import Pki
from recording_provider import RecordingProvider
from served import Served
from smtp_client import PATIENCE, Client
from sqlalchemy import event

from engine.directory import Rule
from store.directory import Directory
from store.lookups import CAPTURES_SECONDS

BCC, FORWARD = b"log-p1@cap.example", b"fwd-p1@cap.example"
KIM = b"kim@cust.example"
MANY = (KIM, b"lee@cust.example", b"max@other.example", b"x@stranger.example", b"y@stranger.example")
RECIPIENTS = {
    "one recipient": (KIM,),
    "a stranger": (b"x@stranger.example",),
    "several": MANY,
    "a capture address first": (BCC, *MANY),
    "a capture address in the middle": (*MANY[:2], BCC, *MANY[2:]),
    "both capture addresses last": (*MANY, BCC, FORWARD),
    "a capture address alone": (BCC,),
}
# How long ago the directory was looked at; the relay looks every second, and stays sure for ten times as long.
AGES = {
    "just now": 0.0,
    "a while ago": 0.7,
    "before some messages": 3.0,
    "as long ago as can be": CAPTURES_SECONDS - 0.5,
}


class RoundTrips:
    """Counts what the store is asked from now on. `finish` once what nobody waits for has come back too."""

    def __init__(self, relay: InProcess) -> None:
        self._relay = relay
        self._count = 0
        event.listen(relay.database.pool.sync_engine, "checkout", self._counted)

    def _counted(self, *_: Any) -> None:
        self._count += 1

    async def finish(self) -> int:
        lookups = self._relay._lookups
        await self._relay.until(lambda: not lookups._is_gathering())
        return self._count


def mail(*recipients: bytes) -> bytes:
    """To its recipients, and naming two people besides who do not get it."""
    to = b", ".join(each for each in recipients if not each.endswith(b"@cap.example"))
    fields = b"From: ann@acme.example\r\nTo: " + (to or KIM) + b"\r\nCc: nia@other.example, z@stranger.example\r\n"
    return fields + b"Date: Tue, 3 Feb 2026 10:00:00 +0000\r\nMessage-ID: <2@acme.example>\r\n\r\nhello\r\n"


async def in_turn(client: Client, *recipients: bytes) -> None:
    """Each command once the reply to the one before is there."""
    assert (await client.submit(mail(*recipients), *recipients)).startswith(b"250")


async def in_one_go(client: Client, *recipients: bytes) -> None:
    """All commands at once (RFC 2920 §3.1)."""
    lines = [b"MAIL FROM:<ann@acme.example>\r\n", *(b"RCPT TO:<" + each + b">\r\n" for each in recipients)]
    client.send(b"".join(lines) + b"DATA\r\n")
    answers = await client.replies(len(lines) + 1)
    assert answers[-1].startswith(b"354"), answers
    assert (await client.say(mail(*recipients) + b".\r\n")).startswith(b"250")


async def warm(relay: InProcess) -> None:
    """A message between others has passed."""
    async with Client(relay.port) as client:
        await client.begin()
        await client.submit(b"From: ann@acme.example\r\nTo: bob@acme.example\r\n\r\nx\r\n", b"bob@acme.example")


def age(relay: InProcess, seconds: float) -> None:
    """As if that time had passed since the store was asked last."""
    lookups = relay._lookups
    moment = lookups._checked + seconds
    lookups._clock = lambda: moment


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("way", [in_turn, in_one_go])
@pytest.mark.parametrize("recipients", list(RECIPIENTS.values()), ids=list(RECIPIENTS))
async def test_the_first_message_of_a_process_asks_once(
    tmp_path: Path, rule: Rule, way: Callable[..., Awaitable[None]], recipients: tuple[bytes, ...]
) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider], rule=rule) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        trips = RoundTrips(relay)
        await way(client, *recipients)
        # Mail for the log is decided by the recorder, so that nothing of it is asked while it passes.
        assert await trips.finish() == (0 if BCC in recipients else 1)


@pytest.mark.parametrize("way", [in_turn, in_one_go])
@pytest.mark.parametrize("seconds", list(AGES.values()), ids=list(AGES))
@pytest.mark.parametrize("recipients", list(RECIPIENTS.values()), ids=list(RECIPIENTS))
async def test_a_message_asks_once_however_old_the_answers_at_hand_are(
    tmp_path: Path, seconds: float, way: Callable[..., Awaitable[None]], recipients: tuple[bytes, ...]
) -> None:
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        await warm(relay)
        age(relay, seconds)
        trips = RoundTrips(relay)
        await way(client, *recipients)
        first = await trips.finish()
        assert first == (0 if BCC in recipients else 1)
        age(relay, seconds)
        await way(client, *recipients)  # of which everybody is known now
        assert await trips.finish() - first <= 1


CHANGES: dict[str, Callable[[Directory], Awaitable[Any]]] = {
    "a contact": lambda directory: directory.add_contact("P1", "new@cust.example"),
    "a user": lambda directory: directory.set_user("P1", "ann@acme.example", aliases=["a@acme.example"]),
    "a list": lambda directory: directory.add_never_log("P1", "x@stranger.example"),
}


@pytest.mark.parametrize("change", list(CHANGES.values()), ids=list(CHANGES))
async def test_a_message_asks_once_after_every_change_of_people(
    tmp_path: Path, change: Callable[[Directory], Awaitable[Any]]
) -> None:
    """They may be many, as when a program brings contacts up to date; capture addresses are none of them."""
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        await client.begin()
        await warm(relay)
        await change(relay.directory)
        trips = RoundTrips(relay)
        await in_turn(client, *MANY)
        assert await trips.finish() == 1


async def test_a_new_capture_address_costs_one_question_for_all_sessions(tmp_path: Path) -> None:
    """Each of them must know it at once; the mail itself asks once, as ever."""
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
        clients = [Client(relay.port) for _ in range(10)]
        for client in clients:
            await client.__aenter__()
            await client.begin()
        await warm(relay)
        await relay.directory.set_portal("P1", bcc_address="new@cap.example")
        trips = RoundTrips(relay)
        for client in clients:
            client.send(b"MAIL FROM:<ann@acme.example>\r\nRCPT TO:<new@cap.example>\r\nRCPT TO:<" + KIM + b">\r\n")
        for client in clients:
            assert [each[:3] for each in await client.replies(3)] == [b"250"] * 3
        assert await trips.finish() <= 2  # some may have come while the others' answer was on its way
        assert not any(b"new@cap.example" in each for each in provider.commands)
        for client in clients:
            await client.__aexit__(None, None, None)


async def test_a_capture_address_that_was_made_elsewhere_is_known_before_mail_for_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bell rings here for it: the relay looks by itself."""
    monkeypatch.setattr("proxy.capture.LOOK_SECONDS", 0.01)
    async with (
        RecordingProvider() as provider,
        InProcess(tmp_path, [provider]) as relay,
        Client(relay.port) as client,
    ):
        elsewhere = Directory(relay.database, tmp_path / "another machine.bell")
        await elsewhere.set_portal("P1", bcc_address="new@cap.example")
        assert relay.captures.is_capture_address(b"new@cap.example") is False
        looking = asyncio.ensure_future(relay.captures.keep_looking())
        await relay.until(lambda: relay.captures.is_capture_address(b"new@cap.example") is True)
        looking.cancel()
        await client.begin()
        trips = RoundTrips(relay)
        await in_turn(client, b"new@cap.example", *MANY)
        assert await trips.finish() == 0
        assert len(await relay.emails()) == 1


async def test_the_program_looks_by_itself(tmp_path: Path, pki: Pki) -> None:
    """No recipient makes it ask: a capture address that was made elsewhere is the provider's until it has looked."""
    name = b"new@cap.example"
    async with (
        RecordingProvider(verdicts={name: b"550 5.1.1 not mine\r\n"}) as provider,
        Served(tmp_path, pki, providers=[provider]) as served,
        Client(served.port) as client,
    ):
        elsewhere = Directory(await served.database(), tmp_path / "another machine.bell")
        await elsewhere.set_portal("P1", bcc_address=name.decode())
        await client.begin()
        await client.say(b"MAIL FROM:<ann@acme.example>\r\n")
        async with asyncio.timeout(PATIENCE):
            while not (await client.say(b"RCPT TO:<" + name + b">\r\n")).startswith(b"250"):
                await asyncio.sleep(0.02)  # the limit of recipients is far


async def test_looking_asks_nothing_while_mail_does(tmp_path: Path) -> None:
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
        await warm(relay)
        age(relay, 0.2)
        trips = RoundTrips(relay)
        await relay.captures.look()
        assert await trips.finish() == 0
        age(relay, 1.0)
        await relay.captures.look()
        assert await trips.finish() == 1


async def test_a_directory_that_cannot_be_looked_at_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.capture.LOOK_SECONDS", 0.001)
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as relay:
        age(relay, 5.0)
        async with relay.database.write() as connection:
            await connection.exec_driver_sql("alter table directory_version rename to away")
        looking = asyncio.ensure_future(relay.captures.keep_looking())
        await relay.until(lambda: relay.captures.counts["looked_in_vain"] >= 2)
        async with relay.database.write() as connection:
            await connection.exec_driver_sql("alter table away rename to directory_version")
        await relay.until(lambda: relay.captures.directory.token() is not None)
        looking.cancel()
