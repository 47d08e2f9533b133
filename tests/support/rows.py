r"""Reads test rows from plain text: one row a line, fields between " | ", so that a row is added without Python.

In octets `\r`, `\n`, `\t`, `\s` (space), `\0`, `\x..` and `\\` stand for what they say, and `{a*5000}` for 5000 times
"a". Lines that begin with "#" and empty lines are for people.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

__all__ = ["octets_of", "rows"]

ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))|\{(.+?)\*([0-9]+)\}")
ESCAPED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"s": b" ", b"0": b"\0", b"\\": b"\\", b"|": b"|"}


def octets_of(text: str) -> bytes:
    """The octets that a field stands for."""

    def unescaped(match: re.Match[bytes]) -> bytes:
        if match[3]:
            return octets_of(match[3].decode()) * int(match[4])
        return bytes([int(match[1], 16)]) if match[1] else ESCAPED[match[2]]

    return ESCAPE.sub(unescaped, text.encode())


def rows(beside: str, name: str, fields: int) -> list[pytest.param]:
    """The rows of file `name` in the folder of the test module `beside`, as parameters with the row as their id."""
    found = []
    for number, line in enumerate((Path(beside).parent / name).read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in re.split(r" \| ?", line)]
        assert len(parts) == fields, f"{name}:{number}: {len(parts)} fields, {fields} wanted"
        found.append(pytest.param(*parts, id=f"{number}: {line[:60].strip()}"))
    return found
