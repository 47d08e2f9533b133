"""docs/rfcs.md lists the RFCs that the code cites and no others, and every citation has one form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LISTED = re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \|$", (ROOT / "docs" / "rfcs.md").read_text("utf-8"), re.MULTILINE)
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "docs/flow.md", "docs/rules.md", "docs/commands.md")
PACKAGES = ("onrecord", "proxy", "engine", "store", "certs")
RFC = re.compile(r"\bRFC(?!822\b)s?[ -]?(\d+)")  # RFC822 is what IMAP calls a message
WELL_FORMED = re.compile(r"\bRFC [1-9]\d{0,4}(?!\d)(?: §\d+(?:\.\d+)*(?:, §\d+(?:\.\d+)*)*)?(?! ?(?:section|sec\.|§§))")


def cited() -> Iterator[tuple[str, str, str]]:
    """Each citation: where it stands, the number, and the text from it on."""
    paths = [*(ROOT / each for each in DOCUMENTS), *(path for each in PACKAGES for path in (ROOT / each).rglob("*.py"))]
    for path in paths:
        text = path.read_text("utf-8")
        for match in RFC.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path.relative_to(ROOT)}:{line}", match[1], text[match.start() : match.start() + 60]


def test_every_rfc_that_is_cited_is_listed() -> None:
    missing = {place: number for place, number, _ in cited() if number not in LISTED}
    assert missing == {}, "add them to docs/rfcs.md with title and use"


def test_every_rfc_that_is_listed_is_cited_and_listed_once_in_order() -> None:
    assert set(LISTED) == {number for _, number, _ in cited()}
    assert sorted(set(LISTED), key=int) == LISTED


def test_citations_have_one_form() -> None:
    assert [place for place, _, text in cited() if not WELL_FORMED.match(text)] == []
