"""Reads two logs of different size as the pages do, in turns: `bench/reading.py SMALL LARGE`.

`seed.py` makes them. Prints the median milliseconds of each question, and the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from seed import HASH_KEY, Sample, address_of

from store.database import Database
from store.directory import Directory
from store.reading import Reading
from store.search import Search

ROUNDS = 21
PAGE = 51
BUSY, QUIET = 1, 500  # contacts with much and with little mail
Question = Callable[[], Awaitable[Any]]


def questions(database: Database, bell: Path) -> dict[str, Question]:
    """What pages ask, by name."""
    reading, search, directory = Reading(database, HASH_KEY), Search(database), Directory(database, bell)
    common, second, rare = (Sample(1).words[place] for place in (8, 9, 4000))
    return {
        "the log": lambda: reading.emails(1, limit=PAGE),
        "timeline, busy contact": lambda: reading.emails(1, contact=BUSY, limit=PAGE),
        "timeline, quiet contact": lambda: reading.emails(1, contact=QUIET, limit=PAGE),
        "an email": lambda: reading.email(900, portal=1),
        "its thread": lambda: reading.emails(1, thread=898, limit=PAGE),
        "why": lambda: reading.explain(1, "900@seeded.example"),
        "decisions": lambda: reading.decisions(1, limit=PAGE),
        "search, common word": lambda: search.emails(1, common, limit=PAGE),
        "search, two words": lambda: search.emails(1, f"{common} {second}", limit=PAGE),
        "search, rare word": lambda: search.emails(1, rare, limit=PAGE),
        "search, phrase": lambda: search.emails(1, f'"{common} {second}"', limit=PAGE),
        "search, beginning": lambda: search.emails(1, f"{common[:3]}*", limit=PAGE),
        "search, busy contact": lambda: search.emails(1, common, contact=BUSY, limit=PAGE),
        "search, quiet contact": lambda: search.emails(1, common, contact=QUIET, limit=PAGE),
        "contacts": lambda: directory.contacts_like("seeded", "", limit=PAGE),
        "contact by name": lambda: directory.contacts_like("seeded", common[:4], limit=PAGE),
        "contact by address": lambda: directory.contacts_like("seeded", address_of(QUIET), limit=PAGE),
        "settings": lambda: directory.portal("seeded"),
    }


async def measure(paths: list[Path]) -> dict[str, list[float]]:
    """Milliseconds of each question, one for each database."""
    databases = [await Database.open(f"sqlite:///{path}", migrate_first=False) for path in paths]
    try:
        asked = [questions(each, path.with_name("bell")) for each, path in zip(databases, paths, strict=True)]
        return {name: await _medians([each[name] for each in asked]) for name in asked[0]}
    finally:
        for each in databases:
            await each.close()


async def _medians(asked: list[Question]) -> list[float]:
    taken: list[list[float]] = [[] for _ in asked]
    for _ in range(ROUNDS):
        for place, question in enumerate(asked):
            start = time.perf_counter()
            await question()
            taken[place].append((time.perf_counter() - start) * 1000)
    return [statistics.median(each) for each in taken]


def main() -> None:
    """The command."""
    arguments = argparse.ArgumentParser(description="Compares reading a small log and a large one.")
    arguments.add_argument("small", type=Path)
    arguments.add_argument("large", type=Path)
    asked = arguments.parse_args()
    for name, (small, large) in asyncio.run(measure([asked.small, asked.large])).items():
        print(f"{name:26}{small:9.1f} ms{large:9.1f} ms{large / small:8.1f}")


if __name__ == "__main__":
    main()
