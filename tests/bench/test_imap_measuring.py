"""A measurement of mailboxes fails when anything is other than it was in the mailbox."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import generator as generators
import pytest
from cells import UNLOGGED
from mailboxes.cells import Cell, Kind, Legs
from mailboxes.measure import measure
from mailboxes.provider import Mail, Provider
from mailboxes.system import Site, System
from measure import LostMail
from processes import Processes
from scripted_mailbox import ScriptedMailbox
from sink import Certificate

CONTENT = b"A: b\r\n\r\nc\r\n"
FETCHED = b"* 1 FETCH (BODY[] {%d}\r\n%b)\r\n" % (len(CONTENT), CONTENT) * 2 + b"%tag OK done\r\n"
CELL = Cell(title="two messages", kind=Kind.DOWNLOAD, legs=Legs.CLEAR, user="u", messages=2, unit="messages/s", users=1)


async def measured(octets: int, recorded: list[int]) -> dict[str, Any]:
    """The figures of a system that has `octets` in its mailbox, and whose log grows as `recorded` says."""
    mail = Mail(Path("/nowhere"), {CELL.messages: octets})
    certificate = Certificate(Path("/nowhere"), Path("/nowhere"))
    async with ScriptedMailbox(password=" p", answers={"UID": FETCHED}) as server:
        ports = {Legs.CLEAR: server.port}
        system = System(name=UNLOGGED, ports=ports, recorded=lambda: recorded.pop(0) if recorded[1:] else recorded[0])
        with Processes() as processes:
            site = Site(processes, certificate, Provider(0, 0, mail))
            return await asyncio.to_thread(measure, site, system, CELL, seconds=1.0)


@pytest.fixture(autouse=True)
def _built(generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generators, "PROGRAMS", generator.parent)


async def test_all_that_came_and_was_recorded_is_a_figure() -> None:
    figures = await measured(2 * len(CONTENT), [5, 5, 6, 7])
    assert (figures["messages"], figures["recorded"]) == (2, 2)
    assert figures["rate"] > 0


async def test_octets_that_do_not_come_are_lost_mail() -> None:
    with pytest.raises(LostMail, match="octets came"):
        await measured(2 * len(CONTENT) + 1, [5, 7])


async def test_messages_that_are_not_recorded_are_lost_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailboxes.measure.LOST_SECONDS", 0.2)
    with pytest.raises(LostMail, match="1 recorded"):
        await measured(2 * len(CONTENT), [5, 6])
