"""Fills a database with a log of any size, so that reading it can be measured: `bench/seed.py --help`.

Rows are written as the recorder writes them, but without octets of messages. Words and contacts are drawn as in real
correspondence: few are common, most are rare. The same numbers give the same log.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from engine.decision import Attribution, ContactRef, Decision, Direction, Outcome, Reason, Source, UserRef
from store import schema
from store.database import Database
from store.hashes import keyed_hash

BATCH = 5000
BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
PACE = 20.0  # seconds between two messages
USERS = 200
WORDS = 20_000
SYLLABLES = ("ba", "co", "di", "fe", "gu", "ha", "ji", "ko", "lu", "me", "no", "pi", "ra", "se", "to", "vu", "wa", "zi")
HASH_KEY = b"seeded"


class Sample:
    """Draws words and people, the first of each the most often."""

    def __init__(self, contacts: int, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self.words = [self._word() for _ in range(WORDS)]
        self._word_weights = list(accumulate(1 / (place + 3) for place in range(WORDS)))
        self._contact_weights = list(accumulate(1 / (place + 50) for place in range(contacts)))
        self._contacts = range(1, contacts + 1)

    def text(self, least: int, most: int) -> str:
        """So many words."""
        count = self._random.randint(least, most)
        return " ".join(self._random.choices(self.words, cum_weights=self._word_weights, k=count))

    def contact(self) -> int:
        """The id of one."""
        return self._random.choices(self._contacts, cum_weights=self._contact_weights)[0]

    def user(self) -> int:
        """The id of one."""
        return self._random.randint(1, USERS)

    def _word(self) -> str:
        return "".join(self._random.choices(SYLLABLES, k=self._random.randint(2, 4)))


def address_of(contact: int) -> str:
    """Of the contact with that id."""
    return f"contact{contact}@firm{contact % 5000}.example"


async def seed(url: str, *, emails: int, contacts: int) -> None:
    """Makes portal 1, "seeded", with so many emails and contacts."""
    database = await Database.open(url)
    sample = Sample(contacts)
    try:
        async with database.write() as connection:
            portal = {"name": "seeded", "rule": "all", "switches": {}, "authserv_ids": [], "subaddressed_domains": []}
            await connection.execute(insert(schema.portal).values(id=1, service_logins=[], **portal))
        await _fill(database, schema.user, ({"id": each, **_user(each)} for each in range(1, USERS + 1)))
        await _fill(database, schema.user_address, map(_user_address, range(1, USERS + 1)))
        numbers = range(1, contacts + 1)
        await _fill(database, schema.contact, (_contact(each, sample) for each in numbers))
        await _fill(
            database,
            schema.contact_address,
            (
                {"portal": 1, "canonical": address_of(each), "contact": each, "written": address_of(each)}
                for each in numbers
            ),
        )
        for first in range(1, emails + 1, BATCH):
            mails = [_Mail(number, sample) for number in range(first, min(first + BATCH, emails + 1))]
            async with database.write() as connection:
                await connection.execute(insert(schema.email), [each.email for each in mails])
                await connection.execute(insert(schema.email_contact), [each.link for each in mails])
                await connection.execute(insert(schema.email_id), [each.id for each in mails])
                await connection.execute(insert(schema.capture), [each.capture for each in mails])
                await connection.execute(insert(schema.decision), [each.decision for each in mails])
                await connection.execute(insert(schema.decision_hash), [each.hash for each in mails])
    finally:
        await database.close()


async def _fill(database: Database, table: Any, rows: Iterator[dict[str, Any]]) -> None:
    while batch := list(islice(rows, BATCH)):
        async with database.write() as connection:
            await connection.execute(insert(table), batch)


def _user(number: int) -> dict[str, Any]:
    account = f"user{number}@ours.example"
    return {"portal": 1, "account": account, "name": f"User {number}", "personal_email_access": True, "active": True}


def _user_address(number: int) -> dict[str, Any]:
    account = f"user{number}@ours.example"
    return {"portal": 1, "canonical": account, "user": number, "kind": "account", "written": account}


def _contact(number: int, sample: Sample) -> dict[str, Any]:
    name = sample.text(2, 2).title()
    return {"id": number, "portal": 1, "primary_address": address_of(number), "name": name, "owner": None}


class _Mail:
    """The rows of one logged message."""

    def __init__(self, number: int, sample: Sample) -> None:
        user, contact = sample.user(), sample.contact()
        ours, theirs = f"user{user}@ours.example", address_of(contact)
        decision = Decision(
            portal=1,
            source=Source.RELAY,
            outcome=Outcome.LOG,
            reason=Reason.RECEIVED_FROM_CONTACT if number % 2 else Reason.SENT_TO_CONTACT,
            direction=Direction.INCOMING if number % 2 else Direction.OUTGOING,
            contacts=(ContactRef(id=contact, address=theirs),),
            user=UserRef(id=user, address=ours),
            attribution=Attribution.AUTHOR,
        )
        at = BEGIN + number * PACE
        name = f"{number}@seeded.example"
        thread = number if number % 3 == 1 else number - (number - 1) % 3
        hash_ = keyed_hash(HASH_KEY, name)
        self.email = {
            "id": number,
            "portal": 1,
            "message_id": name,
            "thread": thread,
            "direction": decision.direction,
            "reason": decision.reason,
            "attribution": decision.attribution,
            "user": user,
            "is_reassigned": False,
            "flags": [],
            "subject": sample.text(3, 8),
            "date": at,
            "at": at,
            "from": [theirs if number % 2 else ours],
            "to": [ours if number % 2 else theirs],
            "cc": [],
            "text": sample.text(30, 150),
            "html": "",
            "other_text": "",
            "size": 2000,
            "content": None,
            "content_rank": f"0{number:032d}",
        }
        self.link = {"email": number, "contact": contact, "bcc": False, "is_unlinked": False}
        self.id = {"portal": 1, "hash": hash_, "email": number, "msg_id": name}
        self.capture = {"key": str(number), "portal": 1, "email": number, "at": at, "source": decision.source}
        self.decision = {
            "key": str(number),
            "portal": 1,
            "at": at,
            "source": decision.source,
            "decision": decision.outcome,
            "reason": decision.reason,
            "value": decision.to_json(),
            "email": number,
        }
        self.hash = {"hash": hash_, "decision": number}


def main() -> None:
    """The command."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("database", type=Path, help="file to be made")
    arguments.add_argument("--emails", type=int, default=1_000_000)
    arguments.add_argument("--contacts", type=int, default=100_000)
    asked = arguments.parse_args()
    asyncio.run(seed(f"sqlite:///{asked.database}", emails=asked.emails, contacts=asked.contacts))


if __name__ == "__main__":
    main()
