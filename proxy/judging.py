"""Deciding what the relay left to decide: undecided mail, copies to a BCC address, forwarded originals (rules.md 7).

The relay decides while mail passes, from the header section alone. What needs more than that is decided here, by the
recorder: contents, proofs of who sent it, threads of the log.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import engine
from engine.address import canonical
from engine.authentication import Proof
from engine.capture import Capture, Folder
from engine.case import Case
from engine.decision import Decision, Flag, Outcome, Reason, Source
from engine.directory import Answer, Question, User
from engine.explicit import Refusal, decide_original, prove_sender
from engine.fingerprint import date_of
from engine.forwarded import Inline, find_inline, html_text, redirected_by
from engine.message import Message
from proxy.authentication import AuthenticationUnavailable, Authenticator
from proxy.verdict import Directory
from store.entry import Entry, EntryKind
from store.originals import find_attached
from store.parsing import HEADER_OCTETS, split, unstuff

__all__ = ["Judge", "Judged", "Read", "content_of", "header_section"]

CALENDAR = re.compile(rb"text/calendar", re.IGNORECASE)
Read = Callable[[Entry], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An entry with what was decided of it.

    `message` is what it was decided on, `outside` are the canonical addresses of people who are no users. `waits` names
    the portals whose decision may change, with the hashes of the ids that would change it.
    """

    entry: Entry
    decisions: tuple[Decision, ...]
    message: Message | None = None
    outside: frozenset[str] = frozenset()
    waits: dict[int, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Original:
    """What was forwarded: its octets, and whether they are the message itself or what the forwarder's client wrote; of
    that there may have been more than is read (`is_cut`).
    """

    octets: bytes
    is_attached: bool
    is_cut: bool = False


class Judge:
    """Decides entries of the spool. `read` gives text and HTML of an entry's content, as the parser reads them."""

    def __init__(self, directory: Directory, authenticator: Authenticator, read: Read) -> None:
        self._directory = directory
        self._authenticator = authenticator
        self._read = read

    async def judge(self, entry: Entry, *, waited: bool = False) -> list[Judged]:
        """The entry, and an entry for each original that was forwarded in it.

        `waited` when the time for parents to be logged is over. Raises `StoreUnavailable`, and `OSError` when content
        is missing.
        """
        message = engine.read(header_section(entry))
        capture = _capture(entry, waited=waited)
        question = engine.question(capture, message)
        answers = self._directory.answer(question)
        if answers is None:
            answers = await self._directory.ask(question)
        outside = {canonical(each) for each in question.addresses}.difference(*(each.users for each in answers))
        if entry.kind is EntryKind.GAP:  # its content is lost, so nobody knows the parties
            decisions = tuple(engine.decide(capture, message, answer) for answer in answers)
            return [Judged(entry=entry, decisions=decisions, outside=frozenset(outside))]
        mine: list[Decision] = []
        waits: dict[int, frozenset[str]] = {}
        originals: list[Judged] = []
        for answer in answers:
            decided, retry = await self._decide(entry, capture, message, answer)
            if decided is not None:
                mine.append(decided)
            if retry is not None:
                waits[answer.portal.id] = retry
            if answer.portal.forward_address is not None and answer.portal.forward_address in capture.capture_addresses:
                found, must_ask_again = await self._forwarded(entry, capture, message, answer)
                originals += found
                if must_ask_again:
                    waits.setdefault(answer.portal.id, frozenset())
        first = Judged(entry=entry, decisions=tuple(mine), message=message, outside=frozenset(outside), waits=waits)
        return _merged([first, *originals])

    async def without_calendar(self, judged: Judged) -> Judged:
        """The same where portals that log no calendar mail do not log an invitation inside a multipart either.

        Only the content tells that (rules.md 3.7). Raises `StoreUnavailable` and `OSError`.
        """
        logs = [each for each in judged.decisions if each.outcome is Outcome.LOG and Flag.CALENDAR not in each.flags]
        portals = {each.portal for each in logs if await self._skips_calendar(each)}
        if judged.entry.kind is not EntryKind.MESSAGE or not portals:
            return judged
        if not CALENDAR.search(await asyncio.to_thread(content_of, judged.entry)):
            return judged
        if Flag.CALENDAR not in (await self._read(judged.entry))["flags"]:
            return judged
        decisions = (
            each.skipped(Reason.CALENDAR) if each.portal in portals and each.outcome is Outcome.LOG else each
            for each in judged.decisions
        )
        waits = {portal: each for portal, each in judged.waits.items() if portal not in portals}
        return replace(judged, decisions=tuple(decisions), waits=waits)

    async def _skips_calendar(self, decision: Decision) -> bool:
        if decision.user is None:
            return False
        question = Question(login=decision.user.address, addresses=frozenset())
        answers = self._directory.answer(question)
        if answers is None:
            answers = await self._directory.ask(question)
        return any(each.portal.id == decision.portal and not each.portal.switches.log_calendar for each in answers)

    async def _decide(
        self, entry: Entry, capture: Capture, message: Message, answer: Answer
    ) -> tuple[Decision | None, frozenset[str] | None]:
        """The decision on the message itself, and the hashes that it waits for, if it does."""
        is_copy = answer.portal.bcc_address is not None and answer.portal.bcc_address in capture.capture_addresses
        if not is_copy and (not answer.users or _is_for_capture_only(capture)):
            return None, None
        must_ask_again = False
        decision = engine.decide(capture, message, answer)
        if capture.login is None and engine.needs_proof(decision):
            proof, must_ask_again = await self._prove(entry, message, answer, capture)
            capture = replace(capture, proof=proof)
            decision = engine.decide(capture, message, answer)
        if must_ask_again and decision.outcome is Outcome.SKIP and engine.needs_proof(decision):
            return decision, frozenset()
        if engine.waits_for_parents(decision, message, answer) and not capture.waited and answer.thread is not None:
            return decision, answer.thread.seen
        return decision, None

    # -- who sent it --------------------------------------------------------------------------------------------------

    async def _prove(
        self, entry: Entry, message: Message, answer: Answer, capture: Capture
    ) -> tuple[Proof | None, bool]:
        """What proves the author, and whether DNS must be asked again before the answer is no."""
        octets = await asyncio.to_thread(content_of, entry)
        try:
            return await self._authenticator.prove(message, octets, answer.portal.authserv_ids), False
        except AuthenticationUnavailable:
            return None, not capture.waited

    # -- forwards -----------------------------------------------------------------------------------------------------

    async def _forwarded(
        self, entry: Entry, capture: Capture, message: Message, answer: Answer
    ) -> tuple[list[Judged], bool]:
        """The originals that were forwarded to the portal, each an entry of its own, or why there is none; and whether
        DNS must be asked again before that is so.
        """
        sender, octets, must_ask_again = await self._forwarder(entry, capture, message, answer)
        if isinstance(sender, Refusal):
            case = Case.of(_as_forward(capture), message, answer)
            judged = [_judged(entry, case.skip(sender.reason, None, sender.user))]
            return judged, must_ask_again and sender.reason is Reason.CAPTURE_SENDER_UNVERIFIED
        found, is_all = await self._originals(entry, message, octets)
        judged = []
        for number, original in enumerate(found, 1):
            judged.append(await self._judge_original(entry, number, original, answer, sender))
        if not is_all:
            case = Case.of(_as_forward(capture), message, answer)
            judged.append(_judged(entry, case.skip(Reason.FORWARD_NOT_PARSED, None, sender)))
        return judged, False

    async def _forwarder(
        self, entry: Entry, capture: Capture, message: Message, answer: Answer
    ) -> tuple[User | Refusal, bytes, bool]:
        """Who forwarded or redirected it, proven (rules.md 7.2); the octets; whether DNS must be asked again."""
        octets = await asyncio.to_thread(content_of, entry)
        must_ask_again = False
        named = message
        if (resent := redirected_by(message)) is not None:
            named = replace(message, authors=(resent,))
        if capture.login is None:
            proof, must_ask_again = await self._prove(entry, named, answer, capture)
            capture = replace(capture, proof=proof)
        case = Case.of(replace(capture, capture_addresses=frozenset()), named, await self._also(answer, named, capture))
        sender = prove_sender(case)
        return (sender if isinstance(sender, Refusal) else sender.user), octets, must_ask_again

    async def _also(self, answer: Answer, message: Message, capture: Capture) -> Answer:
        """The portal's answer for a message that names other people than the one it was given for."""
        question = replace(engine.question(capture, message), parents=(), direct=frozenset())
        answers = self._directory.answer(question)
        if answers is None:
            answers = await self._directory.ask(question)
        return next((each for each in answers if each.portal.id == answer.portal.id), answer)

    async def _originals(self, entry: Entry, message: Message, octets: bytes) -> tuple[list[_Original], bool]:
        """What was forwarded, and whether that is all of it."""
        if redirected_by(message) is not None:
            return [_Original(octets=octets, is_attached=True)], True
        attached, is_all = await asyncio.to_thread(find_attached, octets)
        if attached:
            return [_Original(octets=each, is_attached=True) for each in attached], is_all
        parsed = await self._read(entry)
        date = date_of(message)
        zone = _zone(message)
        longest = max(len(parsed["text"]), len(parsed["html"]))
        for kind, read in (("text", str), ("html", html_text)):
            text = read(parsed[kind])
            if (found := find_inline(text, zone=zone)) is not None:
                is_cut = Flag.BODY_TRUNCATED in parsed["flags"] and len(parsed[kind]) == longest
                return [_Original(octets=_written(found, text, date), is_attached=False, is_cut=is_cut)], True
        return [], False

    async def _judge_original(
        self, entry: Entry, number: int, original: _Original, answer: Answer, forwarder: User
    ) -> Judged:
        message = engine.read(split(original.octets[:HEADER_OCTETS])[0])
        capture = Capture(source=Source.FORWARD, capture_addresses=frozenset((answer.portal.forward_address or "",)))
        answer = await self._also(answer, message, capture)
        decision = decide_original(Case.of(capture, message, answer), forwarder, is_attached=original.is_attached)
        if original.is_cut and decision.outcome is Outcome.LOG:
            decision = replace(decision, flags=decision.flags | {Flag.BODY_TRUNCATED})
        inner = Entry(
            key=f"{entry.key}.{number}",
            at=entry.at,
            kind=EntryKind.MESSAGE,
            facts={"source": Source.FORWARD, "session": entry.facts.get("session"), "recipients": []},
            content=original.octets,
        )
        addresses = (*message.authors, *message.to, *message.cc)
        outside = frozenset(canonical(each) for each in addresses).difference(answer.users)
        return Judged(entry=inner, decisions=(decision,), message=message, outside=outside)


def header_section(entry: Entry) -> bytes:
    """The header section of an entry's content. Raises `OSError`."""
    if entry.content_file is not None:
        with entry.content_file.open("rb") as file:
            octets = file.read(HEADER_OCTETS)
    else:
        octets = (entry.content or b"")[:HEADER_OCTETS]
    section, _ = split(unstuff(octets) if entry.dot_stuffed else octets)
    return section


def content_of(entry: Entry) -> bytes:
    """The content of an entry as the message's octets. Raises `OSError`."""
    octets = entry.content_file.read_bytes() if entry.content_file is not None else entry.content or b""
    return unstuff(octets) if entry.dot_stuffed else octets


def _capture(entry: Entry, *, waited: bool) -> Capture:
    facts = entry.facts
    envelope = facts.get("recipients", ())
    accepted = tuple(each["address"] for each in envelope if each["accepted"])
    return Capture(
        source=Source(facts["source"]),
        recipients=accepted if facts.get("login") is not None or envelope else None,
        refused=tuple(each["address"] for each in envelope if not each["accepted"]),
        login=facts.get("login"),
        mailbox=facts.get("mailbox"),
        folder=Folder(facts["folder"]) if facts.get("folder") else None,
        capture_addresses=frozenset(facts.get("captures", ())),
        waited=waited,
        at=entry.at,
    )


def _is_for_capture_only(capture: Capture) -> bool:
    """Whether nobody but portals were sent it: then it is no correspondence of its own."""
    return bool(capture.capture_addresses) and not capture.recipients


def _as_forward(capture: Capture) -> Capture:
    return replace(capture, source=Source.FORWARD)


def _judged(entry: Entry, decision: Decision) -> Judged:
    return Judged(entry=entry, decisions=(decision,))


def _merged(judged: Sequence[Judged]) -> list[Judged]:
    """One for each entry; a portal decides once on each."""
    found: dict[str, Judged] = {}
    for each in judged:
        seen = found.get(each.entry.key)
        if seen is None:
            found[each.entry.key] = each
            continue
        decisions = {one.portal: one for one in (*each.decisions, *seen.decisions)}
        found[each.entry.key] = replace(seen, decisions=tuple(decisions.values()), outside=seen.outside | each.outside)
    return list(found.values())


def _zone(message: Message) -> tzinfo | None:
    """The zone of the forwarder's clock, in which the date of an inline original is written."""
    value = message.header.first(b"date")
    try:
        return parsedate_to_datetime(value[:128].decode("latin-1")).tzinfo if value is not None else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _written(inline: Inline, text: str, date: datetime | None) -> bytes:
    """The original as a message: the fields that its block names, and the text behind it."""
    when = inline.date if inline.date is not None and inline.date.tzinfo is not None else date
    lines = [f"From: <{inline.author}>", f"Subject: {inline.subject}"]
    for name, addresses in (("To", inline.to), ("Cc", inline.cc)):
        if addresses:
            lines.append(f"{name}: {', '.join(f'<{each}>' for each in addresses)}")
    if when is not None:
        lines.append(f"Date: {format_datetime(when)}")
    lines.append("Content-Type: text/plain; charset=utf-8")
    head = "\r\n".join(" ".join(line.split()) for line in lines)
    body = "\r\n".join(text[inline.body_start :].splitlines())
    return f"{head}\r\n\r\n{body}\r\n".encode("utf-8", "replace")
