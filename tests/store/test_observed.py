"""Progress in mailboxes: kept by server, account and folder, and replaced."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import store
from store.database import migrate
from store.observed import FolderProgress, Observed

ANN, BOB, CY = "ann@acme.example", "bob@acme.example", "cy@acme.example"
HERE, THERE = "here", "there"
SOME = FolderProgress(uidvalidity=4294967295, uidnext=7, since=100.5, at=200.5)


async def test_progress_is_kept_by_account_and_folder(empty: Any) -> None:
    observed = Observed(empty.database)
    assert await observed.progress(HERE, ANN) == {}
    catching_up = replace(SOME, uidvalidity=3, catch_up_from=50.0)
    await observed.advance(HERE, ANN, "INBOX", SOME)
    await observed.advance(HERE, ANN, "Grüße an Kim", catching_up)
    await observed.advance(HERE, BOB, "INBOX", replace(SOME, uidnext=1))
    assert await observed.progress(HERE, ANN) == {"INBOX": SOME, "Grüße an Kim": catching_up}


async def test_progress_is_replaced(empty: Any) -> None:
    observed = Observed(empty.database)
    await observed.advance(HERE, ANN, "INBOX", replace(SOME, catch_up_from=1.0))
    later = replace(SOME, uidvalidity=2**32 - 1, uidnext=2**32, at=300.0)
    await observed.advance(HERE, ANN, "INBOX", later)
    assert await observed.progress(HERE, ANN) == {"INBOX": later}


async def test_the_progress_at_one_server_is_none_at_another(empty: Any) -> None:
    observed = Observed(empty.database)
    await observed.advance(HERE, ANN, "INBOX", SOME)
    assert await observed.progress(THERE, ANN) == {}
    other = replace(SOME, uidnext=2)
    await observed.advance(THERE, ANN, "INBOX", other)
    assert await observed.progress(HERE, ANN) == {"INBOX": SOME}
    assert await observed.progress(THERE, ANN) == {"INBOX": other}


class TestBeforeServersWereToldApart:
    async def test_what_was_read_is_of_the_server_that_is_read_first(self, empty: Any) -> None:
        observed = Observed(empty.database)
        await observed.advance("", ANN, "INBOX", SOME)
        await observed.advance("", BOB, "INBOX", SOME)
        assert await observed.progress(HERE, ANN) == {"INBOX": SOME}
        assert await observed.progress(THERE, ANN) == {}
        assert await observed.progress(HERE, ANN) == {"INBOX": SOME}
        assert await observed.progress(THERE, BOB) == {"INBOX": SOME}

    async def test_a_server_that_has_progress_of_its_own_keeps_that(self, empty: Any) -> None:
        observed = Observed(empty.database)
        await observed.advance("", ANN, "INBOX", SOME)
        await observed.advance("", ANN, "Sent", SOME)
        mine = replace(SOME, uidnext=99)
        await observed.advance(HERE, ANN, "INBOX", mine)
        assert await observed.progress(HERE, ANN) == {"INBOX": mine}
        assert await observed.progress(THERE, ANN) == {}


def test_what_was_read_counts_for_each_server_where_the_address_is_connected(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.sqlite'}"
    pool = create_engine(url)
    with pool.connect() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.commit()
    pool.dispose()
    connected = [(1, ANN, HERE), (2, ANN, THERE), (3, ANN, HERE), (1, BOB, THERE)]
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as old:
        old.executemany(
            "insert into connected_mailbox (portal, user, address, canonical, server, login, mechanism, secret, "
            "version, state, connected_at, changed_at) values (?1, 1, ?2, ?2, ?3, ?2, 'PLAIN', '', 1, 'ok', 0, 0)",
            connected,
        )
        old.executemany(
            "insert into observed_folder values (?, ?, 7, 8, 1.5, null, 2.5)",
            [(ANN, "INBOX"), (ANN, "Sent"), (BOB, "INBOX"), (CY, "INBOX")],
        )
        old.commit()
    migrate(url)
    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as new:
        rows = new.execute("select * from observed_folder order by account, server, name").fetchall()
    progress = (7, 8, 1.5, None, 2.5)
    assert rows == [
        (HERE, ANN, "INBOX", *progress),
        (HERE, ANN, "Sent", *progress),
        (THERE, ANN, "INBOX", *progress),
        (THERE, ANN, "Sent", *progress),
        (THERE, BOB, "INBOX", *progress),
        ("", CY, "INBOX", *progress),
    ]
