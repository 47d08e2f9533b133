"""Gaps close when their message is in the log after all, and not before."""

from __future__ import annotations

from typing import Any

import pytest
from in_process import HASH_KEY, InProcess
from spooled import LOG, a_message, an_entry, facts, put

from engine.decision import Decision, Direction, Outcome, Reason, Source
from store.entry import EntryKind
from store.hashes import keyed_hash


class TestAGap:
    @pytest.fixture
    def gap(self) -> Any:
        hashes = [keyed_hash(HASH_KEY, "one@x")]
        more = {"gap": "outcome_unknown", "cause": "", "message_ids": hashes}
        return an_entry("gap", kind=EntryKind.GAP, content=None, facts=facts(LOG, **more))

    @pytest.mark.parametrize("gap_is_first", [True, False])
    async def test_closes_when_its_message_is_logged_whichever_came_first(
        self, node: InProcess, gap: Any, gap_is_first: bool
    ) -> None:
        """A gap that was noted after its message had been recorded stayed open for ever."""
        message = an_entry(content=a_message("one@x"), facts=facts(LOG))
        for entry in (gap, message) if gap_is_first else (message, gap):
            await put(node.spool, entry)
            await node.recorded()
        assert [each.closed_at is not None for each in await node.gaps()] == [True]

    async def test_stays_open_when_another_portal_logs_its_message(self, node: InProcess, gap: Any) -> None:
        await node.directory.add_portal("P2")
        await put(node.spool, gap)
        other = Decision(
            portal=2,
            source=Source.RELAY,
            outcome=Outcome.LOG,
            reason=Reason.SENT_TO_CONTACT,
            direction=Direction.OUTGOING,
        )
        await put(node.spool, an_entry(content=a_message("one@x"), facts=facts(other)))
        assert [each.closed_at for each in await node.gaps()] == [None]

    async def test_that_was_no_gap_is_recorded_as_the_message_it_is(self, node: InProcess, gap: Any) -> None:
        """The recorder took a writer whose lock was removed for dead, and its verdict came afterwards."""
        await put(node.spool, gap)
        await node.recorded()
        await put(node.spool, an_entry("gap", content=a_message("one@x"), facts=facts(LOG)))
        assert [each.message_id for each in await node.emails()] == ["one@x"]
        assert [each.closed_at is not None for each in await node.gaps()] == [True]
