"""Sequence sets: which messages a command or a response names (RFC 9051 §9: sequence-set, uid-set)."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["numbers_of"]

MAX_DIGITS = 10  # of an nz-number


def numbers_of(written: str) -> Iterator[int]:
    """The numbers of a set in their order, one by one, because "1:4294967295" is a set like any other.

    "3:1" is "1:3". Raises `ValueError` where it cannot be told: "*" is as many as the mailbox has.
    """
    for each in written.split(","):
        first, colon, last = each.partition(":")
        low = _number(first)
        high = _number(last) if colon else low
        yield from range(min(low, high), max(low, high) + 1)


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()) or len(digits) > MAX_DIGITS:
        raise ValueError("not a number")
    return int(digits)
