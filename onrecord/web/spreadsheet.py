"""Rows as CSV that a spreadsheet shows and does not calculate: RFC 4180 §2, in UTF-8 with a byte order mark.

A cell whose text would begin a formula gets an apostrophe in front, which spreadsheets have always taken to mean
"text". So does a place inside a cell where another cell begins for a program that separates by semicolon or tab, as
spreadsheets do in half of the world. A text that has an apostrophe there already gets another: `plain` is the exact
inverse of `guarded`, and what was exported can be imported again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["CONTENT_TYPE", "Cell", "csv_octets", "guarded", "plain"]

Cell = str | int | float | None

CONTENT_TYPE = "text/csv; charset=utf-8; header=present"
# Excel reads UTF-8 as such only behind this mark.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BEHIND_SEPARATOR = r"(?<=[;\t\r\n])"  # where a cell begins for somebody, besides the start
# What some programs drop before they look; tab, CR and LF are no part of it, so that each place is looked at once.
DROPPED = r"[ \x00-\x08\x0b\x0c\x0e-\x1f\x7f\xa0\u1680\u2000-\u200f\u2028-\u202f\u2060\u3000\ufeff]*"
# The wide forms are formulas for spreadsheets in East Asia.
FORMULA = r"=+\-@＝＋－＠"
TO_GUARD = re.compile(rf"\A(?='|{DROPPED}[{FORMULA}\t\r\n])|{BEHIND_SEPARATOR}(?='|{DROPPED}[{FORMULA}])")
GUARD = re.compile(rf"(?:\A|{BEHIND_SEPARATOR})'")


def csv_octets(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    """The file in pieces, a row each. Text is guarded and quoted; numbers are ours and written as they are."""
    yield BYTE_ORDER_MARK + _line(header)
    for row in rows:
        yield _line(row)


def guarded(text: str) -> str:
    """`text` with an apostrophe wherever a formula could begin."""
    return TO_GUARD.sub("'", text)


def plain(text: str) -> str:
    """What `guarded` made `text` of; of text that is from elsewhere, the meaning that a spreadsheet gives it."""
    return GUARD.sub("", text)


def _line(row: Sequence[Cell]) -> bytes:
    line = io.StringIO(newline="")
    writer = csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in row])
    return line.getvalue().encode("utf-8", "replace")
