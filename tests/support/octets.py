"""Cutting octets into pieces, and counting how many of them code under test touches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

__all__ = ["CountedBuffer", "CountedOctets", "chunkings", "cut", "singly", "splits"]


def singly(octets: bytes) -> list[bytes]:
    """One piece for each octet."""
    return [octets[n : n + 1] for n in range(len(octets))]


def splits(octets: bytes) -> Iterator[list[bytes]]:
    """Every way to cut in two."""
    for n in range(len(octets) + 1):
        yield [octets[:n], octets[n:]]


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """Pieces cut at `places`, which are taken modulo the length."""
    ends = sorted({place % (len(octets) + 1) for place in places} | {len(octets)})
    return [octets[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def chunkings(octets: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, list[bytes]]]:
    """Octets, and a random way to cut them."""
    places = st.lists(st.integers(0, 1 << 16), max_size=12)
    return st.tuples(octets, places).map(lambda both: (both[0], cut(*both)))


class CountedOctets(bytes):
    """Octets that count, in `touched[0]`, how many octets were copied or searched; copies count on."""

    touched: list[int]

    def __new__(cls, octets: bytes, touched: list[int]) -> CountedOctets:
        self = super().__new__(cls, octets)
        self.touched = touched
        return self

    def _count(self, octets: bytes) -> CountedOctets:
        self.touched[0] += len(octets)
        return CountedOctets(octets, self.touched)

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return self._count(found) if isinstance(found, bytes) else found

    def __add__(self, other: Any) -> CountedOctets:
        return self._count(super().__add__(bytes(other)))

    def __radd__(self, other: Any) -> Any:
        if isinstance(other, bytearray):  # += of a bytearray comes here first
            self.touched[0] += len(self)
            other.extend(self)
            return other
        return self._count(bytes(other) + bytes(self))

    def find(self, octets: Any, start: Any = 0, *rest: Any) -> int:
        found = super().find(octets, start, *rest)
        self.touched[0] += (found if found >= 0 else len(self)) - start
        return found

    def count(self, *arguments: Any) -> int:
        self.touched[0] += len(self)
        return super().count(*arguments)

    def translate(self, *arguments: Any, **options: Any) -> bytes:
        return self._count(super().translate(*arguments, **options))

    def partition(self, octets: Any) -> tuple[bytes, bytes, bytes]:
        self.touched[0] += len(self)
        return super().partition(octets)

    def __contains__(self, octets: Any) -> bool:
        self.touched[0] += len(self)
        return super().__contains__(octets)


class CountedBuffer(bytearray):
    """A buffer that counts what is searched in it and copied out of it."""

    def __init__(self, touched: list[int]) -> None:
        super().__init__()
        self.touched = touched

    def find(self, octets: Any, start: Any = 0, *rest: Any) -> int:
        found = super().find(octets, start, *rest)
        self.touched[0] += (found if found >= 0 else len(self)) - start
        return found

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.touched[0] += 1 if isinstance(found, int) else len(found)
        return found
