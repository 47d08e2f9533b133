"""Progress in mailboxes: kept by account and folder, and replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from store.observed import FolderProgress, Observed

ANN, BOB = "ann@acme.example", "bob@acme.example"
SOME = FolderProgress(uidvalidity=4294967295, uidnext=7, since=100.5, at=200.5)


async def test_progress_is_kept_by_account_and_folder(empty: Any) -> None:
    observed = Observed(empty.database)
    assert await observed.progress(ANN) == {}
    catching_up = replace(SOME, uidvalidity=3, catch_up_from=50.0)
    await observed.advance(ANN, "INBOX", SOME)
    await observed.advance(ANN, "Grüße an Kim", catching_up)
    await observed.advance(BOB, "INBOX", replace(SOME, uidnext=1))
    assert await observed.progress(ANN) == {"INBOX": SOME, "Grüße an Kim": catching_up}


async def test_progress_is_replaced(empty: Any) -> None:
    observed = Observed(empty.database)
    await observed.advance(ANN, "INBOX", replace(SOME, catch_up_from=1.0))
    later = replace(SOME, uidvalidity=2**32 - 1, uidnext=2**32, at=300.0)
    await observed.advance(ANN, "INBOX", later)
    assert await observed.progress(ANN) == {"INBOX": later}
