"""Mail that passed while the directory could not be asked is decided later, and can be found like any other."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

from in_process import HASH_KEY, InProcess
from log_writer import message
from recording_provider import PASSWORD, RecordingProvider

from engine.directory import Answer, Question
from store.database import StoreUnavailable
from store.reading import Reading


class Away:
    """A directory that cannot be asked."""

    def answer(self, question: Question) -> tuple[Answer, ...] | None:
        return None

    def is_capture_address(self, address: str) -> bool | None:
        return None

    def was_capture_address(self, address: str) -> bool:
        return False

    async def look(self) -> None:
        raise StoreUnavailable("away")

    async def ask(self, question: Question) -> tuple[Answer, ...]:
        raise StoreUnavailable("away")


def send(port: int, recipient: str) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("ann@acme.example", PASSWORD)
        content = message(to=recipient, message_id=f"<to-{recipient}>")
        client.sendmail("ann@acme.example", [recipient], content)


async def test_a_late_skip_is_found_by_id_and_by_outside_address_and_leaves_no_content(tmp_path: Path) -> None:
    """It was recorded without the hash of any address."""
    async with RecordingProvider() as provider, InProcess(tmp_path, [provider]) as node:
        node.captures.directory = Away()
        for recipient in ("x@stranger.example", "kim@cust.example"):
            await asyncio.to_thread(send, node.port, recipient)
        assert len(await node.emails()) == 1
        reading = Reading(node.database, HASH_KEY)
        portal = (await node.directory.portal("P1")).id
        (by_id,) = await reading.decisions(portal, message_id="to-x@stranger.example")
        (by_address,) = await reading.decisions(portal, address="X@stranger.example")
        assert by_id == by_address
        assert by_id.value.reason == "no_existing_contact"
        (logged,) = await reading.decisions(portal, message_id="to-kim@cust.example")
        assert logged.email is not None
