"""The header block of a forwarded message: reading its lines, and the shape that makes it one.

A block is a run of lines that begin with known labels, at one depth of quoting. Lines without a label continue an
address list or a long subject; one empty line may stand between two fields (some renderings of HTML make each a
paragraph); a field that was there already, or anything else, ends the block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from engine.forwarded.labels import FIELDS, LANGUAGES, RAW_FIELDS, Field, normalised
from engine.forwarded.lines import Line, Lines

__all__ = ["MAX_FIELDS", "Block", "label_of", "read_block", "read_glued"]

MAX_LABEL = 40  # characters before the colon
MAX_FIELDS = 50
MAX_BLOCK_LINES = 4000
MAX_VALUE = 256 * 1024
LONG_SUBJECT = 60  # a line shorter than that was not folded
MAX_LABELLED_LINES_AHEAD = 3
COLON = re.compile(r"[:：]")
RAW_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9-]+")
ADDRESS_FIELDS = (Field.AUTHOR, Field.TO, Field.CC)
# Yahoo forgets the colon behind two labels, Polish and Portuguese, in what it glues together.
QUIRK_NO_COLON = {"Dw ": Field.CC, "Assunto ": Field.SUBJECT}


@dataclass(slots=True)
class Block:
    """The values by field, the labels as they stand there, and the number of the first line behind the block."""

    values: dict[Field, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    has_raw_fields: bool = False
    end: int = 0

    def add(self, kind: Field, label: str, value: str) -> None:
        """Notes one field."""
        self.labels.append(label)
        if kind is not Field.OTHER:
            self.values[kind] = value

    @property
    def looks_dated(self) -> bool:
        """Whether the date holds what any date and time of day hold: a year and two more numbers."""
        numbers = re.findall(r"\d+", self.values.get(Field.DATE, "")[:200])
        return len(numbers) >= 3 and any(len(number) == 4 for number in numbers)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages in which the block may be, the likeliest first: those of most of its labels, its author's first."""
        author = next((label for label in self.labels if FIELDS.get(label) is Field.AUTHOR), "")
        votes = [language for label in self.labels for language in LANGUAGES.get(label, ())]
        return tuple(sorted(LANGUAGES.get(author, ()), key=lambda language: -votes.count(language)))


def label_of(text: str) -> tuple[Field, str, str] | None:
    """Field, normalised label and value of a line that begins with a known label."""
    split = _split(text)
    if split is None:
        return None
    label, value = split
    kind = FIELDS.get(label)
    return (kind, label, value) if kind else None


def read_block(lines: Lines, number: int, *, is_marked: bool) -> Block:
    """The block that begins at that line; `is_marked` when a separator is before it, which lets unknown fields pass."""
    block = Block(end=number)
    first = lines.at(number)
    kind: Field | None = None
    parts: list[str] = []
    label = ""
    while first is not None and number - block.end < MAX_BLOCK_LINES and len(block.labels) < MAX_FIELDS:
        line = lines.at(number)
        if line is None or (line.depth != first.depth and not line.is_blank):
            break
        if line.is_blank:
            if not _goes_on(lines, number + 1, first.depth, block, kind):
                break
            number += 1
            continue
        found = _field(line, is_marked, block)
        if found is not None:
            if kind is not None:
                block.add(kind, label, " ".join(parts))
            if found[0] in block.values:
                kind = None
                break
            kind, label, value = found
            parts = [value[:MAX_VALUE]]
        elif kind is not None and _continues(lines, number, line, kind, parts):
            parts.append("\n" + line.text if kind in ADDRESS_FIELDS else line.text)
        else:
            break
        number += 1
    if kind is not None and kind not in block.values:
        block.add(kind, label, " ".join(parts))
    block.end = number
    return block


def read_glued(text: str, number: int) -> Block | None:
    """The block that Yahoo writes into the line of its separator: one field after the other, nothing between."""
    found = label_of(text)
    if found is None or found[0] is not Field.AUTHOR:
        return None
    block = Block(end=number + 1)
    kind, label, rest = found
    while True:
        following = _next_glued(rest, block, kind)
        if following is None or len(block.labels) > len(Field):
            block.add(kind, label, rest.strip())
            return block if Field.SUBJECT in block.values or Field.DATE in block.values else None
        start, (next_kind, next_label, next_rest) = following
        block.add(kind, label, rest[:start].strip())
        kind, label, rest = next_kind, next_label, next_rest


def _split(text: str) -> tuple[str, str] | None:
    match = COLON.search(text, 0, MAX_LABEL + 1)
    if match is None:
        return None
    label, value = text[: match.start()], text[match.end() :].strip()
    if label.startswith(("*", "_")):  # bold text of a text/plain made from HTML: "*From:* Kim", "**From**: Kim"
        mark = label[0]
        value = value.lstrip(mark).strip()
        if value.startswith(mark) and value.endswith(mark):
            value = value.strip(mark)
    return normalised(label), value


def _field(line: Line, is_marked: bool, block: Block) -> tuple[Field, str, str] | None:
    found = label_of(line.text)
    if found is None and (split := _split(line.text)) and RAW_LABEL.fullmatch(split[0]):
        if split[0] in RAW_FIELDS:
            block.has_raw_fields = True
            found = Field.OTHER, *split
        elif is_marked and "-" in split[0]:
            found = Field.OTHER, *split
    return found


def _goes_on(lines: Lines, number: int, depth: int, block: Block, kind: Field | None) -> bool:
    """Whether the block goes on behind one empty line: with a field that it lacks, other than an author."""
    line = lines.at(number)
    found = label_of(line.text) if line and line.depth == depth else None
    return found is not None and found[0] not in (*block.values, kind, Field.OTHER, Field.AUTHOR)


def _continues(lines: Lines, number: int, line: Line, kind: Field, parts: list[str]) -> bool:
    """Whether a line without label belongs to the field before it."""
    if kind in ADDRESS_FIELDS and ("@" in line.text or parts[-1].rstrip().endswith((",", ";", "<"))):
        return True
    if _is_labelled_soon(lines, number + 1, line.depth):
        return True
    following = lines.at(number + 1)
    is_last_of_block = following is None or following.is_blank
    return kind is Field.SUBJECT and len(parts) == 1 and len(parts[0]) >= LONG_SUBJECT and is_last_of_block


def _is_labelled_soon(lines: Lines, number: int, depth: int) -> bool:
    for ahead in range(number, number + MAX_LABELLED_LINES_AHEAD):
        line = lines.at(ahead)
        if line is None or line.is_blank or line.depth != depth:
            return False
        if label_of(line.text):
            return True
    return False


def _next_glued(text: str, block: Block, kind: Field) -> tuple[int, tuple[Field, str, str]] | None:
    """Where the next field begins, and it. Behind addresses it follows a bracket; a subject ends the block."""
    if kind is Field.SUBJECT:
        return None
    if kind in ADDRESS_FIELDS:
        places = [match.end() for match in re.finditer(r">", text[:MAX_VALUE])][:MAX_FIELDS]
    else:
        places = list(range(min(len(text), 120)))
    for place in places:
        found = _glued_label(text, place)
        if found and found[0] not in (*block.values, kind, Field.OTHER):
            return place, found
    return None


def _glued_label(text: str, place: int) -> tuple[Field, str, str] | None:
    ahead = text[place : place + 2 * MAX_LABEL].lstrip()
    for label, kind in QUIRK_NO_COLON.items():
        if ahead.startswith(label):
            return kind, normalised(label), text[place:].lstrip()[len(label) :]
    return label_of(text[place:].lstrip()) if label_of(ahead) else None
