"""Finding the original in a forward that carries it as text (rules.md 7.3).

**What is taken.** The outermost original: the first header block that nothing comes before but the forwarder's note.
A header block is

- a known separator line (`separators`) and below it, at most `MAX_GAP` empty lines further, fields of which one names
  the author with an address and one more is a date, a subject or a recipient; or
- without a separator, at the beginning of a paragraph or below a drawn line: author, date, and a subject or a
  recipient on adjacent lines, beginning with author or date, the author with an address, the date with a year and a
  time. Outlook and others write no more than that. Fields that only a message on its way has (Received, Message-ID)
  show that somebody pasted a raw header: no block.

**What is not.** Nothing is taken

- out of a quotation: where text stands before it at a lower depth of quoting and other text at its own, or where a line
  like "On ... wrote:" introduces what it is in. The mail quoted there has no header block, and it is the outermost;
- below a block that was recognised but cannot be used (no address of an author, labels of a language not known):
  what comes below it is further inside.

What is inside the original, further forwards and quotations among it, is its body. An answer in Outlook's manner has
the same shape as a forward and is taken as one: it was sent to the forwarding address. A forward whose only header is
a line like "On ... wrote:" (Outlook 2019 for Mac) looks like an answer and is not taken.
The result is a claim by who forwarded, never a proof: it is to be flagged `unverified_forward`.

**Bounds.** The block begins within `lines.MAX_SEARCH` characters; each line is looked at a bounded number of times,
since a block that fails is passed over whole; its lines, fields, addresses and octets are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from engine.forwarded import addresses
from engine.forwarded.block import Block, label_of, read_block, read_glued
from engine.forwarded.dates import parse_in_any
from engine.forwarded.labels import Field, normalised
from engine.forwarded.lines import MAX_SEARCH, Line, Lines
from engine.forwarded.replies import is_attribution
from engine.forwarded.separators import CLOSING, DASHES, OPENINGS, SEPARATORS, Separator, words_of

__all__ = ["Inline", "find_inline", "scan"]

MAX_GAP = 4  # empty or drawn lines between separator and block, and between block and body
MAX_SEPARATOR = 200
MAX_SUBJECT = 2000
MAX_DATE = 200
UNMARKED = (Separator("Outlook", ""),)  # who writes no separator; some webmail does as Outlook does
UNKNOWN_FIELDS = 4  # adjacent lines with labels of no known language that make a block: Outlook's four
RULE = re.compile(r"[-–—_=~*#\s]{3,}")
# A separator and more on one line, as Yahoo writes it: five dashes before and behind the words.
GLUED = re.compile(r"-{3,}[ \u00a0]{1,3}([^-\n]{3,80}?)[ \u00a0]{1,3}-{3,}(?: |$)")
UNKNOWN_LABEL = re.compile(r"[^\W\d_][\w .'’()/-]{0,38}[:：]\s*\S")
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
TIME = re.compile(r"\d[:.]\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inline:
    """An original found in a text. Addresses are as written.

    `date` has an offset when one is written there or a zone was given; else it is naive: the time on the clock of who
    forwarded. It is `None` when `date_written` is missing or cannot be read for certain. `body_start` is where the line
    begins with which the original's body begins. `client` is whose layout it is (where no separator tells, Outlook's),
    `language` that of the labels.
    """

    author: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    date: datetime | None
    date_written: str
    subject: str
    body_start: int
    client: str
    language: str


def find_inline(text: str, *, zone: tzinfo | None = None) -> Inline | None:
    """The outermost original in `text`, or `None`. `zone` is that of the forward's Date field. Never raises."""
    return scan(Lines(text), zone=zone)


def scan(lines: Lines, *, zone: tzinfo | None = None) -> Inline | None:
    """As `find_inline`; afterwards `lines.steps` says how many looks at lines it took."""
    place = _Place()
    number = 0
    while (line := lines.at(number)) is not None and line.start < MAX_SEARCH:
        if line.is_blank:
            place.passes(line)
            number += 1
            continue
        if separators := _separators(line):
            block = _marked_block(lines, number)
            if place.is_quoted(line.depth) or not (_is_marked_block(block) or _is_sure(line)):
                place.passes(line)
                number = block.end
                continue
            if place.is_in_answer or not _is_marked_block(block):
                return None
            return _inline(lines, block, separators, _dashes(line), zone)
        if place.may_begin_block and (found := label_of(line.text)) and found[0] in (Field.AUTHOR, Field.DATE):
            block = read_block(lines, number, is_marked=False)
            if _is_block(block) and not place.is_quoted(line.depth):
                return None if place.is_in_answer else _inline(lines, block, UNMARKED, 0, zone)
            place.passes(line)
            number = max(block.end, number + 1)
            continue
        if place.may_begin_block and _is_unknown_block(lines, number) and not place.is_quoted(line.depth):
            return None
        place.passes(line)
        number += 1
    return None


class _Place:
    """What stands before the line that is looked at."""

    def __init__(self) -> None:
        self._depths: set[int] = set()
        self._last = Line(0, 0, "")
        self._before: Line | None = None
        self._answer_depth: int | None = None  # of an attribution whose quotation is not over
        self._answer_begins = False
        self._is_marked_answer = False

    @property
    def may_begin_block(self) -> bool:
        """Whether a block without separator could begin here."""
        return self._last.is_blank or RULE.fullmatch(self._last.text) is not None

    @property
    def is_in_answer(self) -> bool:
        """Whether a quoted mail without quotation marks was introduced."""
        return self._answer_depth is not None and not self._is_marked_answer

    def is_quoted(self, depth: int) -> bool:
        """Whether a line of that depth is inside a quotation that begins with something else."""
        outside = any(each < depth for each in self._depths)
        inside = any(each >= depth for each in self._depths)
        return outside and inside

    def passes(self, line: Line) -> None:
        """The line is not the beginning of a block; the next one is looked at."""
        before, self._last = self._last, line
        if line.is_blank:
            return
        if self._answer_begins:
            self._answer_begins = False
            self._is_marked_answer = line.depth > (self._answer_depth or 0)
        self._depths.add(line.depth)
        previous = before if not before.is_blank else Line(0, 0, "")
        if is_attribution(line.text, previous.text):
            self._answer_depth, self._answer_begins, self._is_marked_answer = line.depth, True, False


def _separators(line: Line) -> tuple[Separator, ...]:
    """Whose separator the line is; none when it is none."""
    text = line.text
    if len(text) > MAX_SEPARATOR:
        return _glued(text)[0]
    words = words_of(text)
    if found := SEPARATORS.get(words):
        # Prose does not end like that: the words alone on a line are drawn around or end in a colon.
        return found if RULE.match(text) or text.endswith((":", "：")) or "*" in text[:2] else ()
    if RULE.match(text):
        for opening, client, language in OPENINGS:
            if words.startswith(normalised(opening)):
                return (Separator(client, language),)
    return _glued(text)[0]


def _glued(text: str) -> tuple[tuple[Separator, ...], str]:
    match = GLUED.match(text)
    found = SEPARATORS.get(words_of(match[1]), ()) if match else ()
    return (found, text[match.end() :]) if match and found else ((), "")


def _is_sure(line: Line) -> bool:
    """Whether a separator is one even when nothing below it can be read: it is drawn, not merely said."""
    return RULE.match(line.text) is not None


def _marked_block(lines: Lines, number: int) -> Block:
    """What can be read below the separator at that line; it ends behind the separator at least."""
    separator = lines.at(number)
    assert separator is not None, "the caller has just seen it"
    rest = _glued(separator.text)[1]
    if rest and (glued := read_glued(rest, number)):
        return glued
    first = number + 1
    while first - number <= MAX_GAP and (line := lines.at(first)) is not None and _is_drawn_or_blank(line):
        first += 1
    line = lines.at(first)
    if line is None or not separator.depth <= line.depth <= separator.depth + 1:
        return Block(end=number + 1)
    return read_block(lines, first, is_marked=True)


def _is_drawn_or_blank(line: Line) -> bool:
    return line.is_blank or RULE.fullmatch(line.text) is not None


def _is_marked_block(block: Block) -> bool:
    """Whether it is enough below a separator."""
    return Field.AUTHOR in block.values and len(block.values) >= 2


def _is_block(block: Block) -> bool:
    """The shape that a block has which no separator marks."""
    has_parties = Field.AUTHOR in block.values and (Field.TO in block.values or Field.SUBJECT in block.values)
    return has_parties and block.looks_dated and not block.has_raw_fields


def _is_unknown_block(lines: Lines, number: int) -> bool:
    """Four adjacent lines with labels, the first with an address, one with year and time, in no language known here."""
    texts = [line.text for each in range(UNKNOWN_FIELDS) if (line := lines.at(number + each)) is not None]
    return (
        len(texts) == UNKNOWN_FIELDS
        and all(UNKNOWN_LABEL.match(text[:80]) for text in texts)
        and "@" in texts[0]
        and any(YEAR.search(text[:200]) and TIME.search(text[:200]) for text in texts)
    )


def _dashes(line: Line) -> int:
    return len(line.text) - len(line.text.lstrip("-"))


def _inline(
    lines: Lines, block: Block, separators: tuple[Separator, ...], dashes: int, zone: tzinfo | None
) -> Inline | None:
    """The values of a block; `None` when nobody can be named as its author."""
    author = addresses.author_of(block.values[Field.AUTHOR])
    if author is None:
        return None
    written = block.values.get(Field.DATE, "")
    spoken = {each.language for each in separators}
    languages = sorted(block.languages, key=lambda language: language not in spoken)
    date, language = parse_in_any(written[:MAX_DATE], languages, zone)
    # Clients that use the same words differ in their dashes, and then in their languages.
    by_layout = max(separators, key=lambda each: (DASHES.get(each.client) == dashes, each.language in languages))
    return Inline(
        author=author,
        to=addresses.read(block.values.get(Field.TO, "")),
        cc=addresses.read(block.values.get(Field.CC, "")),
        date=date,
        date_written=written[:MAX_DATE],
        subject=" ".join(block.values.get(Field.SUBJECT, "").split())[:MAX_SUBJECT],
        body_start=_body_start(lines, block.end),
        client=by_layout.client,
        language=language,
    )


def _body_start(lines: Lines, number: int) -> int:
    """Where the first line of the body begins: behind empty lines and what closes the block."""
    while (line := lines.at(number)) is not None and (line.is_blank or _closes(line)):
        number += 1
    return lines.start(number)


def _closes(line: Line) -> bool:
    """Some clients draw a line below the block; Zoho, which draws with "=", the same as above."""
    text = line.text[:MAX_SEPARATOR]
    words = words_of(text)
    return RULE.match(text) is not None and (words in CLOSING or (text.startswith("=") and words in SEPARATORS))
