"""Searching the words of the log: in subject, people, text, and names of attachments.

Case and accents make no difference. A record is found by the words that are in it now: what was deleted or erased is
in no index either, once `settle` has run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, literal_column, select, text

from store import schema
from store.database import Database
from store.reading import EmailRecord, email_query, email_records
from store.search_words import portal_word, words_wanted

__all__ = [
    "Excerpt",
    "Found",
    "Search",
    "settle",
    "settle_some",
]

EXCERPT_WORDS = 24
# Around what matches; mail that has them itself marks itself.
MARK, UNMARK = "\x02", "\x03"
# A contact with so few records is looked up record by record; with more, they are met soon enough among all that match.
FEW = 100
MERGED_PAGES = 1000  # of the index in one transaction; some tens of milliseconds
LEAST_CHANGES = 2  # of a merge that had something to do, as SQLite documents it

INDEX = schema.email_words
MATCHES = literal_column("email_words").op("match")(bindparam("query"))
SUBJECT, PEOPLE, TEXT, OTHER_TEXT = range(1, 5)  # columns of the index

Excerpt = tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An email, and where the words are in it: its subject and a part of its text, in pieces, each with whether it is
    one of the words. The part is empty when only the subject has them.
    """

    email: EmailRecord
    subject: Excerpt
    excerpt: Excerpt


class Search:
    """Searches the log. All methods raise `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def emails(
        self,
        portal: int,
        words: str,
        *,
        contact: int | None = None,
        user: int | None = None,
        direction: str | None = None,
        since: float | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[Found]:
        """Emails of a portal with all the words, the last recorded first. `before` is the id of the last one of the
        page before; `contact` and `user` are ids. Raises `QueryRefused`.
        """
        query = {"query": f'"{portal_word(portal)}" AND {words_wanted(words)}'}
        email, linked, found = schema.email, schema.email_contact, INDEX.c.rowid
        wanted = select(found).where(MATCHES).order_by(found.desc()).limit(limit)
        narrow = select(email.c.id).where(email.c.id == found)
        if user is not None:
            wanted = wanted.where(narrow.where(email.c.user == user).exists())
        if direction is not None:
            wanted = wanted.where(narrow.where(email.c.direction == direction).exists())
        if since is not None:
            wanted = wanted.where(narrow.where(email.c.at >= since).exists())
        if before is not None:
            wanted = wanted.where(found < before)
        async with self._database.read() as connection:
            if contact is not None:
                mine = select(linked.c.email).where(linked.c.contact == contact, linked.c.is_unlinked.is_(False))
                few = (await connection.scalars(mine.limit(FEW + 1))).all()
                if len(few) <= FEW:
                    few = (await connection.scalars(wanted.where(found.in_(few)), query)).all()
                    wanted = wanted.where(found.in_(few))
                else:
                    wanted = wanted.where(mine.where(linked.c.email == found).exists())
            # The index gives its rows in order, so that a page costs a page, excerpts and all.
            parts = (_highlit(SUBJECT), _part(TEXT), _part(OTHER_TEXT), _part(PEOPLE))
            marked = {row[0]: row[1:] for row in await connection.execute(wanted.add_columns(*parts), query)}
            rows = await connection.execute(email_query().where(email.c.id.in_(marked)).order_by(email.c.id.desc()))
            emails = await email_records(connection, rows.all())
        return [_found(each, *marked[each.id]) for each in emails]


async def settle(database: Database) -> None:
    """Takes the words of what was removed out of the index: until then they are there still, only marked.

    Raises `StoreUnavailable`.
    """
    is_more = await settle_some(database, begins=True)
    while is_more:
        is_more = await settle_some(database)


async def settle_some(database: Database, *, begins: bool = False) -> bool:
    """The same in steps, each of them short, for others write, too; whether there is more to do."""
    merge = text("insert into email_words (email_words, rank) values ('merge', :pages)")
    changes = text("select total_changes()")
    async with database.write() as connection:
        before = await connection.scalar(changes)
        # A negative number asks for everything, whether it is worth the work or not.
        await connection.execute(merge, {"pages": -MERGED_PAGES if begins else MERGED_PAGES})
        made = (await connection.scalar(changes) or 0) - (before or 0)
    return begins or made >= LEAST_CHANGES


def _highlit(place: int) -> Any:
    return func.highlight(literal_column("email_words"), place, MARK, UNMARK)


def _part(place: int) -> Any:
    return func.snippet(literal_column("email_words"), place, MARK, UNMARK, "…", EXCERPT_WORDS)


def _found(email: EmailRecord, subject: str, *parts: str) -> Found:
    """Of the parts, the first that has one of the words."""
    return Found(
        email=email,
        subject=_pieces(subject),
        excerpt=_pieces(next((each for each in parts if MARK in each), "")),
    )


def _pieces(marked: str) -> Excerpt:
    pieces = []
    for place, part in enumerate(marked.split(MARK)):
        word, is_word, rest = part.partition(UNMARK) if place else ("", "", part)
        pieces += [(word, True)] if is_word else []
        pieces += [(rest if is_word or not place else part, False)]
    return tuple((each, is_word) for each, is_word in pieces if each)
