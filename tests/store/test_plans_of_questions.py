"""No question of pages or of the recorder reads a whole table of the log, or all that a portal has in it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from log_writer import message
from sqlalchemy import event

from store.corrections import Corrections
from store.search import Search

HASH_KEY = b"k" * 32
LOG = "email|email_contact|email_id|email_key|email_parent|decision|decision_hash|capture|attachment|content_part"
WHOLE = re.compile(rf"SCAN ({LOG})\b")
PORTAL = re.compile(r"SEARCH (email|decision) USING (COVERING )?INDEX \w+ \(portal=\?\)")


@pytest.fixture
def plans(opened: Any) -> Iterator[list[str]]:
    """A line of SQLite's plan for each step of what is asked and changed meanwhile, with its statement."""
    found: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.split(None, 1)[0].upper() not in ("SELECT", "UPDATE", "DELETE"):
            return
        asked = connection.connection.cursor()
        asked.execute(f"explain query plan {statement}", parameters[0] if many else parameters)
        found.extend(f"{row[3]}: {statement}" for row in asked.fetchall())
        asked.close()

    pool = opened.database.pool.sync_engine
    event.listen(pool, "before_cursor_execute", note)
    yield found
    event.remove(pool, "before_cursor_execute", note)


Question = Callable[[Any, int], Awaitable[Any]]
QUESTIONS: dict[str, Question] = {
    "an email": lambda opened, portal: opened.reading.email(1, portal=portal),
    "a thread": lambda opened, portal: opened.reading.emails(portal, thread=1, limit=50),
    "a timeline": lambda opened, portal: opened.reading.emails(portal, contact=1, limit=50),
    "its next page": lambda opened, portal: opened.reading.emails(portal, contact=1, before=(5.0, 7), limit=50),
    "why": lambda opened, portal: opened.reading.explain(portal, "1@acme.example"),
    "decisions by id": lambda opened, portal: opened.reading.decisions(portal, message_id="1@acme.example"),
    "decisions by address": lambda opened, portal: opened.reading.decisions(portal, address="x@y.example"),
    "words": lambda opened, portal: Search(opened.database).emails(portal, "hello", limit=50),
    "words with a contact": lambda opened, portal: Search(opened.database).emails(portal, "hello", contact=1, limit=50),
    "the directory anew": lambda opened, portal: opened.lookups().look(),
    "a copy of a logged mail": lambda opened, portal: opened.writer.passes(message(), key="again"),
    "an answer": lambda opened, portal: opened.writer.passes(
        message(message_id="<2@acme.example>", more="In-Reply-To: <1@acme.example>\r\n")
    ),
    "a user by hand": lambda opened, portal: Corrections(opened.database, opened.directory).reassign(
        1, "bob@acme.example"
    ),
    "a thread stopped": lambda opened, portal: Corrections(opened.database, opened.directory).stop_thread(1),
    "an email deleted": lambda opened, portal: Corrections(opened.database, opened.directory).delete(1),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_asks_for_what_it_needs(opened: Any, plans: list[str], name: str) -> None:
    await opened.writer.passes(message())
    await Corrections(opened.database, opened.directory).stop_thread(1)
    portal = await opened.portal()
    plans.clear()
    await QUESTIONS[name](opened, portal)
    assert plans
    assert [each for each in plans if WHOLE.match(each) or PORTAL.match(each)] == []


async def test_a_plan_that_reads_a_whole_table_is_noticed(opened: Any, plans: list[str]) -> None:
    async with opened.database.read() as connection:
        await connection.exec_driver_sql("select * from email where size = 1")
        await connection.exec_driver_sql("select * from email where portal = 1 and size = 1")
    assert WHOLE.match(plans[0])
    assert PORTAL.match(plans[1])
