"""Whatever paths saw the messages of a conversation, in whatever order and batches: the log is the same at the end.

The log is a function of the set of captures, once nothing waits any more (rules.md section 6).
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from judged_log import BEGIN, JudgedLog, entry, seen_in
from sample import sample_directory
from sqlalchemy import select

from engine.decision import Decision
from engine.directory import Rule
from engine.fingerprint import submitted_key
from store import schema
from store.database import Database
from store.directory import Directory
from store.parsing import ParseLimits, parse
from store.spool import Entry

BCC = "log-p1@cap.example"
FOOTER = "-- \r\nScanned by the gateway\r\n"
USERS = ("ann@acme.example", "bob@acme.example")
CONTACTS = ("kim@cust.example", "lee@cust.example")
STRANGER = "x@stranger.example"
# Becomes a contact by what Ann and Bob copy to the BCC address, and is in nothing else: who is a contact, and whose,
# counts when a message is seen (rules.md 3.6).
MADE = "made@new.example"
OTHER_USER, OTHER_CONTACT = "pia@beta.example", "kim@cust.example"  # of another portal


@dataclass(frozen=True)
class Mail:
    """One message of a conversation; `copies` say how it is seen."""

    number: int
    author: str
    to: tuple[str, ...]
    parents: tuple[str, ...]
    is_direct: bool
    copies: tuple[str, ...]

    def content(self, *, id_: str | None = "", footer: bool = False) -> bytes:
        lines = [f"From: {self.author}", f"To: {', '.join(self.to)}", f"Subject: Mail {self.number}"]
        lines.append(f"Date: Tue, 24 Nov 2026 10:00:{self.number:02} +0100")
        if id_ is not None:
            lines.append(f"Message-ID: <{id_ or self.id}>")
        if self.parents:
            name = "In-Reply-To" if self.is_direct else "References"
            lines.append(f"{name}: {' '.join(f'<{each}>' for each in self.parents)}")
        return ("\r\n".join(lines) + f"\r\n\r\nText {self.number}\r\n{FOOTER if footer else ''}").encode()

    @property
    def id(self) -> str:
        return f"{self.number}@mail.example"

    @property
    def given_id(self) -> str:
        """What the next hop calls it."""
        return f"{self.number}@given.example"

    @property
    def twin_id(self) -> str:
        """Under which the same words are submitted once more."""
        return f"{self.number}@twin.example"

    @property
    def third_id(self) -> str:
        """Under which they are submitted for the third time."""
        return f"{self.number}@third.example"

    @property
    def shared_keys(self) -> set[str]:
        """What they all have, and only one of their records keeps, which is the one that was made first if nobody can
        tell: the fingerprints, and that the words were submitted.
        """
        if not any(each.startswith(("twin", "third")) for each in self.copies):
            return set()
        prints = [
            parse(self.content(footer=footer), lambda *part: None, ParseLimits())["keys"][0] for footer in (False, True)
        ]
        ids = {each.removesuffix("footer").strip() for each in self.copies if each.endswith("footer")}
        return {prints[0], submitted_key(prints[0])} | ({prints[1]} if len(ids) > 1 else set())

    def entries(self) -> Iterable[Entry]:
        for place, copy in enumerate(self.copies):
            key, at = f"{self.number}-{place}-{copy}", BEGIN + self.number * 10 + place
            box = self.author if self.author in (*USERS, OTHER_USER) else self.to[0]
            match copy:
                case "relay":
                    yield entry(key, self.content(), login=self.author, to=self.to, at=at)
                case "named":
                    reply = f"250 2.6.0 <{self.given_id}> [InternalId=1] Queued mail for delivery"
                    yield entry(key, self.content(), login=self.author, to=self.to, at=at, reply=reply)
                case "hidden":
                    yield entry(key, self.content(), login=self.author, to=[*self.to, "lee@cust.example"], at=at)
                case "bcc":
                    yield entry(key, self.content(), login=self.author, to=self.to, captures=[BCC], at=at)
                case "only bcc":
                    yield entry(key, self.content(), login=self.author, captures=[BCC], at=at)
                case "seen":
                    yield seen_in(box, key, self.content(), at=at)
                case "seen by bob":
                    yield seen_in("bob@acme.example", key, self.content(), at=at)
                case "by hand":
                    yield seen_in(box, key, self.content(), folder="log", at=at)
                case "by hand of bob":
                    yield seen_in("bob@acme.example", key, self.content(), folder="log", at=at)
                case "rewritten":
                    yield seen_in(box, key, self.content(id_=self.given_id), at=at)
                case "footer":
                    yield seen_in(box, key, self.content(footer=True), at=at)
                case "named footer":
                    yield seen_in(box, key, self.content(id_=self.given_id, footer=True), at=at)
                case "twin":
                    yield entry(key, self.content(id_=self.twin_id), login=self.author, to=self.to, at=at)
                case "twin bcc":
                    content = self.content(id_=self.twin_id)
                    yield entry(key, content, login=self.author, to=self.to, captures=[BCC], at=at)
                case "twin seen":
                    yield seen_in(box, key, self.content(id_=self.twin_id), at=at)
                case "twin footer":
                    yield seen_in(box, key, self.content(id_=self.twin_id, footer=True), at=at)
                case "third":
                    yield entry(key, self.content(id_=self.third_id), login=self.author, to=self.to, at=at)
                case "third seen":
                    yield seen_in(box, key, self.content(id_=self.third_id), at=at)
                case "third footer":
                    yield seen_in(box, key, self.content(id_=self.third_id, footer=True), at=at)
                case "bare":
                    yield seen_in(box, key, self.content(id_=None), at=at)


SUBMITTED = {"relay", "named", "hidden", "bcc", "only bcc", "twin", "twin bcc", "third"}
OF_USERS = (
    "relay", "named", "hidden", "bcc", "only bcc", "seen", "by hand", "by hand of bob", "rewritten", "footer",
    "named footer", "bare",
)  # fmt: skip
# Copies of words that were submitted twice bear the id of one of them. Of one that does not, nobody can tell which of
# them it is of (rules.md 6.2).
OF_TWINS = (
    "relay", "hidden", "bcc", "only bcc", "seen", "by hand", "footer", "twin", "twin bcc", "twin seen", "twin footer",
    "third", "third seen", "third footer",
)  # fmt: skip
# Known as copies of one of them once the next hop has named the other id.
OF_NAMED_TWINS = (*OF_TWINS, "named", "rewritten", "named footer")
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]  # to shrink a conversation takes longer than to read it
UNHEEDED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
OF_OTHERS = ("seen", "seen by bob", "by hand", "by hand of bob", "rewritten", "footer", "bare")


def submission_of(copy: str) -> str:
    """Whose copy it is, of words that are submitted several times."""
    return copy.split()[0] if copy.startswith(("twin", "third")) else "first"


@st.composite
def twins(draw: st.DrawFn) -> list[str]:
    """Copies of words that are submitted several times; where they are, of none that never was."""
    if draw(st.booleans()):
        more = draw(st.lists(st.sampled_from(OF_NAMED_TWINS), min_size=1, max_size=5))
        copies = draw(st.permutations(["named", *more]))
    else:
        copies = draw(st.lists(st.sampled_from(OF_TWINS), min_size=2, max_size=6))
    submitted = {submission_of(each) for each in copies if each in SUBMITTED}
    return [each for each in copies if len(submitted) < 2 or submission_of(each) in submitted]


@st.composite
def conversations(draw: st.DrawFn) -> list[Mail]:
    mails: list[Mail] = []
    for number in range(draw(st.integers(1, 5))):
        author = draw(st.sampled_from((*USERS, *CONTACTS, STRANGER, OTHER_USER)))
        if author in USERS:
            to = draw(st.lists(st.sampled_from((*CONTACTS, STRANGER)), min_size=1, max_size=2, unique=True))
            known = OF_USERS if STRANGER not in to else [each for each in OF_USERS if "bcc" not in each]
            copies = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
            if STRANGER not in to and draw(st.booleans()):
                copies = draw(twins())
            elif draw(st.booleans()):
                to = [*(each for each in to if each != STRANGER), MADE]
                copies = draw(st.lists(st.sampled_from(("bcc", "only bcc")), min_size=1, max_size=3))
        elif author == OTHER_USER:
            to, copies = [OTHER_CONTACT], draw(st.lists(st.sampled_from(("relay", "seen")), min_size=1, max_size=2))
        else:
            to = draw(st.lists(st.sampled_from((*USERS, OTHER_USER)), min_size=1, max_size=2, unique=True))
            copies = draw(st.lists(st.sampled_from(OF_OTHERS), min_size=1, max_size=3))
        ids = [each for mail in mails for each in (mail.id, mail.given_id, mail.twin_id)]
        parents = draw(st.lists(st.sampled_from(ids), max_size=2, unique=True)) if ids else []
        mails.append(Mail(number, author, tuple(to), tuple(parents), draw(st.booleans()), tuple(copies)))
    return mails


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[Rule, Path]:
    """A database with two portals, under each rule."""
    return {rule: asyncio.run(_fill(tmp_path_factory.mktemp("any") / "store.sqlite", rule)) for rule in Rule}


async def _fill(path: Path, rule: Rule) -> Path:
    database = await Database.open(f"sqlite:///{path}")
    directory = Directory(database, path.with_name("bell"))
    await sample_directory(directory, rule=rule)
    await directory.add_portal("P2", rule=rule)
    await directory.add_user("P2", OTHER_USER, connected=[OTHER_USER], personal_email_access=True)
    await directory.add_contact("P2", OTHER_CONTACT, owner=OTHER_USER)
    await database.close()
    return path


@given(st.data(), st.sampled_from(Rule), conversations())
@settings(max_examples=60, deadline=None, phases=PHASES, suppress_health_check=UNHEEDED)
def test_any_order_and_any_batches_give_the_same_log(
    templates: dict[Rule, Path], data: st.DataObject, rule: Rule, mails: list[Mail]
) -> None:
    entries = [each for mail in mails for each in mail.entries()]
    shared = {key for mail in mails for key in mail.shared_keys}
    first = asyncio.run(_log_of(templates[rule], [[each] for each in entries], shared))
    order = data.draw(st.permutations(range(len(entries))), label="order")
    cuts = data.draw(st.sets(st.integers(0, len(entries))), label="batches")
    again = data.draw(st.lists(st.sampled_from(range(len(entries))), max_size=3), label="repeated")
    places = [*order, *again]
    batches = [[entries[each] for each in some] for some in _cut(places, cuts)]
    assert asyncio.run(_log_of(templates[rule], batches, shared)) == first


@pytest.mark.parametrize(
    "copies",
    [
        pytest.param(("relay", "twin bcc", "seen", "footer"), id="an altered copy of the second"),
        pytest.param(("relay", "twin", "twin footer", "footer"), id="altered copies of both"),
        pytest.param(("third", "twin", "relay", "third footer", "twin footer"), id="altered copies of two of three"),
        pytest.param(("relay", "named", "twin", "rewritten"), id="one submission seen twice, its other id told later"),
        pytest.param(("named", "twin", "named footer", "seen"), id="an altered copy that bears the other id"),
    ],
)
def test_copies_of_the_same_words_submitted_twice_part_in_any_order(
    templates: dict[Rule, Path], copies: tuple[str, ...]
) -> None:
    mail = Mail(0, "bob@acme.example", ("lee@cust.example",), (), False, copies)
    entries = list(mail.entries())
    first = asyncio.run(_log_of(templates[Rule.ALL], [[each] for each in entries], mail.shared_keys))
    assert len(first["emails"]) == len({submission_of(each) for each in copies if each in SUBMITTED})
    for number, order in enumerate(itertools.permutations(entries)):
        batches = [order] if number % 3 == 0 else [[each] for each in order]
        log = asyncio.run(_log_of(templates[Rule.ALL], batches, mail.shared_keys))
        assert log == first, [each.key for each in order]


def _cut(values: Sequence[int], cuts: Iterable[int]) -> list[Sequence[int]]:
    edges = sorted({0, *cuts, len(values)})
    return [values[start:end] for start, end in itertools.pairwise(edges)]


async def _log_of(template: Path, batches: Sequence[Sequence[Entry]], shared: set[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(template, folder / "store.sqlite")
        database = await Database.open(f"sqlite:///{folder / 'store.sqlite'}", migrate_first=False)
        log = JudgedLog(database, folder)
        try:
            for batch in batches:
                await log.pass_by(*batch)
            await log.end_waiting()
            assert await _rows(database, schema.waiting) == []
            assert await _rows(database, schema.waiting_hash) == []
            assert not list((folder / "waiting").glob("*"))
            return await _normalised(database, shared)
        finally:
            await log.recorder.close()
            await database.close()


async def _rows(database: Database, table: Any) -> list[Any]:
    async with database.read() as connection:
        return list((await connection.execute(select(table))).all())


async def _normalised(database: Database, shared: set[str]) -> dict[str, Any]:
    """All that the log says, without the row ids, which tell the order, and without the keys `shared` by records."""
    contacts = {each.id: each.primary_address for each in await _rows(database, schema.contact)}
    emails = {each.id: each for each in await _rows(database, schema.email)}
    keys: dict[int, list[str]] = {}
    for each in await _rows(database, schema.email_key):
        if each.key not in shared:
            keys.setdefault(each.email, []).append(each.key)
    # Copies that share neither id nor text are records of their own, so a subject may be there twice.
    names = {each.id: (each.portal, each.subject, *sorted(keys[each.id])) for each in emails.values()}
    left_out = {"id", "thread", "flags"}
    said = {
        names[each.id]: {key: value for key, value in each._mapping.items() if key not in left_out}
        | {"flags": sorted(each.flags)}
        | {"thread": sorted(names[other.id] for other in emails.values() if other.thread == each.thread)}
        for each in emails.values()
    }
    found: dict[str, Any] = {"emails": said}
    for table in (
        schema.email_key, schema.email_id, schema.email_parent, schema.email_contact, schema.email_recipient,
        schema.capture, schema.attachment,
    ):  # fmt: skip
        rows = []
        for each in await _rows(database, table):
            if table is schema.email_key and each.key in shared:
                continue
            row = dict(each._mapping) | {"email": names[each.email]}
            row.pop("id", None)
            if "contact" in row:
                row["contact"] = contacts[row["contact"]]
            rows.append(sorted(row.items()))
        found[table.name] = sorted(rows, key=repr)
    found["decisions"] = sorted(
        (
            each.key, each.portal, each.at, each.source, each.decision, _reason(each),
            names.get(each.email), _decision(each.value),
        )
        for each in await _rows(database, schema.decision)
    )  # fmt: skip
    found["contacts"] = sorted(
        (each.portal, each.primary_address, each.owner or 0) for each in await _rows(database, schema.contact)
    )
    logged = {(each.portal, each.hash) for each in await _rows(database, schema.email_id)}
    found["unlogged"] = sorted(
        (each.portal, each.hash, each.other, each.is_same)
        for each in await _rows(database, schema.unlogged)
        if (each.portal, each.hash) not in logged  # of what is logged after all, email_parent says the same
    )
    parts = await _rows(database, schema.content_part)
    found["parts"] = sorted((each.portal, each.hash, each.number) for each in parts)
    return found


def _reason(row: Any) -> str:
    """Who is no contact and only refers to a thread waits for nothing (rules.md 4.5): which of two reasons it is tells
    what was logged at that moment.
    """
    is_nobody = not Decision.from_json(row.value).contacts
    return "no_existing_contact" if is_nobody and row.reason == "thread_unproven" else row.reason


def _decision(value: dict[str, Any]) -> str:
    decision = Decision.from_json(value)
    contacts = sorted((each.address, each.bcc) for each in decision.contacts)
    return repr((contacts, decision.direction, decision.user, decision.attribution, sorted(decision.flags)))
