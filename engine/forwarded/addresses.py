"""Addresses in the shapes in which clients show them in a header block.

    Kim Carter <kim@cust.example>           Kim Carter [mailto:kim@cust.example]     kim@cust.example
    "Carter, Kim" <kim@cust.example>        [kim@cust.example](mailto:kim@cust.example)
    Kim Carter <kim@cust.example<mailto:kim@cust.example>>; Lee (lee@cust.example)

A name may hold a comma without being quoted, and may itself look like an address: of one mailbox the address in
brackets counts, the last such one, and a bare address only where there are no brackets.
"""

from __future__ import annotations

import re

__all__ = ["MAX_ADDRESSES", "author_of", "read"]

MAX_ADDRESSES = 2000  # as engine.address
MAX_ADDRESS = 512
# One token: quoted string (not across a bracket, for a lone quotation mark), bracket, separator, or a word.
TOKEN = re.compile(r'"[^"<>;]*"|[<>\[\]()（）＜＞〈〉]|[,;、，；\n]|[^\s"<>\[\]()（）＜＞〈〉,;、，；]+|"')
OPENING = frozenset("<[(（＜〈")
SEPARATING = frozenset(",;、，；\n")
UNFIT = re.compile(r"@|\.\.|[/\\?=&]")
MARKS = "*'`‘’“”„«»_|"
# Of a Sender that sent for the author, who is named behind these words (Outlook).
ON_BEHALF = (
    "on behalf of", "im auftrag von", "de la part de", "en nombre de", "per conto di", "namens", "em nome de",
    "för", "på vegne af", "på vegne av", "puolesta", "w imieniu", "jménem", "от имени", "від імені", "adına",
    "代理", "代表",
)  # fmt: skip


def read(value: str) -> tuple[str, ...]:
    """The addr-specs of a list in order, each once, at most `MAX_ADDRESSES`. Takes time in proportion to `value`."""
    found: dict[str, None] = {}
    bare: list[str] = []
    bracketed: list[str] = []
    is_bracketed = False
    for match in TOKEN.finditer(value):
        token = match[0]
        if token in SEPARATING:
            _close(found, bare, bracketed)
            is_bracketed = False
            if len(found) >= MAX_ADDRESSES:
                break
        elif token in OPENING:
            is_bracketed = True
        elif len(token) > 1 and "@" in token and (address := _address(token)):
            (bracketed if is_bracketed else bare).append(address)
    _close(found, bare, bracketed)
    return tuple(found)[:MAX_ADDRESSES]


def author_of(value: str) -> str | None:
    """The author that an author field names: whom the mail was sent for, where it says so, and not the sender."""
    folded = value.casefold()
    for words in ON_BEHALF:
        place = folded.find(f" {words} ")
        if place >= 0 and len(folded) == len(value):
            value = value[place:]
            break
    found = read(value)
    return found[0] if found else None


def _close(found: dict[str, None], bare: list[str], bracketed: list[str]) -> None:
    """Ends one mailbox."""
    if bracketed:
        found.setdefault(bracketed[-1])
    else:
        for address in bare:
            found.setdefault(address)
    bare.clear()
    bracketed.clear()


def _address(token: str) -> str | None:
    """The addr-spec that a word is, with `mailto:` and marks around it taken off."""
    word = token.strip('"').strip()
    word = word.rpartition(":")[2].partition("?")[0].strip(MARKS).rstrip(".:")
    local, at, domain = word.partition("@")
    is_address = at and local and "." in domain.strip(".") == domain and not UNFIT.search(domain)
    return word if is_address and len(word) <= MAX_ADDRESS and word.isprintable() and " " not in word else None
