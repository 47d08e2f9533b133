"""Addresses: when two of them are the same, and how they are found in a header field (rules.md section 2).

Only the addr-spec counts, never the display name. The reader of address lists is for mail as it is, not as it should
be: it takes time in proportion to its input, never raises, and rather gives no address than a wrong one.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import idna

__all__ = ["GOOGLE", "canonical", "canonical_domain", "read_addresses"]

MAX_ADDRESSES = 2000  # of one field; mail to more recipients than that is bulk
# RFC 5321 §4.5.3.1.3 gives a path 256 octets and §4.5.3.1.2 a domain 255. Twice the one, for systems that write more;
# the other exactly, because IDNA takes time in the square of a label's length.
MAX_ADDRESS = 512
MAX_DOMAIN = 255
SHORT_FIELD = 256  # these are remembered: people write to the same people, and always from the same address
GOOGLE = frozenset(("gmail.com", "googlemail.com"))  # one domain under two names

# One token of an address list: quoted string, angle part, separator, or text. Comments nest and are read by hand.
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|<[^<>]*>?|[,;:(]|[^",;:<(]+', re.DOTALL)
# RFC 5322 §3.4.1, tolerant: a local part of anything but specials and space, or a quoted string; a domain of
# anything but specials and space. Non-ASCII is allowed in both (RFC 6532 §3.2).
ADDR_SPEC = re.compile(
    r'((?:[^\s"(),:;<>@\[\]\\\x00-\x1f\x7f]+|"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*")'
    r"@(?:[^\s\"(),:;<>@\[\]\\\x00-\x1f\x7f]+|\[[0-9A-Za-z.:]+\]))"
)
COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)
NEEDS_TOKENS = re.compile(r'["(:;\\]')
NEEDS_NO_QUOTES = re.compile(r'[^\s"(),:;<>@\[\]\\\x00-\x1f\x7f]+')


@lru_cache(maxsize=65536)
def canonical(address: str, subaddressed_domains: frozenset[str] = frozenset()) -> str:
    """The form in which two addresses of one person's box are equal (rules.md 2.2, 2.3).

    Local parts compare case-folded in NFC, domains as lower-case A-labels. At Google dots and "+tag" do not count;
    elsewhere "+tag" counts unless the domain (as an A-label) is among `subaddressed_domains`. Idempotent. A string
    without "@" is case-folded only.
    """
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return _fold(domain)
    local, domain = _fold(_unquote(local)), canonical_domain(domain)
    if domain in GOOGLE:
        stem = "" if local[:1] == '"' else local.partition("+")[0].replace(".", "")
        return f"{stem or local}@gmail.com"
    if domain in subaddressed_domains and local[:1] != '"':
        local = local.partition("+")[0] or local
    return f"{local}@{domain}"


@lru_cache(maxsize=16384)
def canonical_domain(domain: str) -> str:
    """The domain as lower-case A-labels without a final dot; one that IDNA refuses is only case-folded."""
    domain = domain.strip()
    if len(domain) > MAX_DOMAIN:
        return _fold(domain)
    while domain.endswith("."):
        domain = domain[:-1].rstrip()
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower().rstrip(".")
    except (idna.IDNAError, UnicodeError):
        return _fold(domain)


def read_addresses(field: bytes) -> tuple[str, ...]:
    """The addr-specs of an address list (RFC 5322 §3.4), in order, at most `MAX_ADDRESSES`.

    Groups give their members; comments, display names and routes are passed over; what is no address, or longer than
    `MAX_ADDRESS`, is left out.
    """
    return _read_remembered(field) if len(field) <= SHORT_FIELD else _read(field)


def _read(field: bytes) -> tuple[str, ...]:
    text = field.decode("utf-8", "surrogateescape")
    return tuple(_read_tokens(text) if NEEDS_TOKENS.search(text) else _read_simple(text))


_read_remembered = lru_cache(maxsize=4096)(_read)


def _read_simple(text: str) -> list[str]:
    """As `_read_tokens`, for the list that most fields are: nothing quoted, no comment, no group, no route."""
    found: list[str] = []
    for entry in text.split(","):
        before, angle, rest = entry.partition("<")
        inside, closed, _ = rest.partition(">")
        if angle and (not closed or "<" in rest):  # an open angle may hold the commas behind it
            return _read_tokens(text)
        match = ADDR_SPEC.fullmatch((inside if angle else before).strip())
        if match and len(match[1]) <= MAX_ADDRESS:
            found.append(match[1])
            if len(found) == MAX_ADDRESSES:
                break
    return found


def _read_tokens(text: str) -> list[str]:
    found: list[str] = []
    bare: list[str] = []
    angles: list[str] = []
    position, end = 0, len(text)
    while position < end and len(found) < MAX_ADDRESSES:
        match = TOKEN.match(text, position)
        assert match is not None, "every character begins a token"
        token, position = match[0], match.end()
        first = token[0]
        if first == "(":
            position = _skip_comment(text, position)
        elif first in ",;":
            _close(found, bare, angles)
        elif first == ":":
            bare.clear()
            angles.clear()
        elif first == "<":
            angles.append(token[1:-1] if token[-1] == ">" else token[1:])
        else:
            bare.append(token)
    _close(found, bare, angles)
    return found


def _close(found: list[str], bare: list[str], angles: list[str]) -> None:
    """Ends one mailbox: the angle part counts where there is one; two of them say nothing for certain."""
    if len(angles) <= 1:
        spec = angles[0] if angles else "".join(bare)
        match = ADDR_SPEC.fullmatch(_without_route(spec.strip()))
        if match and len(match[1]) <= MAX_ADDRESS:
            found.append(match[1])
    bare.clear()
    angles.clear()


def _without_route(spec: str) -> str:
    """RFC 5322 §4.4: obs-route is "@a,@b:" before the addr-spec."""
    return spec.rpartition(":")[2].strip() if spec[:1] == "@" else spec


def _skip_comment(text: str, position: int) -> int:
    """The place behind a comment whose "(" was just read; an endless one takes the rest."""
    depth = 1
    for match in COMMENT_MARK.finditer(text, position):
        mark = match[0]
        depth += 1 if mark == "(" else -1 if mark == ")" else 0
        if not depth:
            return match.end()
    return len(text)


def _unquote(local: str) -> str:
    """`"ann"@x` is `ann@x` (RFC 5322 §3.2.4); what cannot stand without quotes keeps them, spelt in one way."""
    if len(local) < 2 or not local[0] == local[-1] == '"':
        return local
    text = re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)
    return text if NEEDS_NO_QUOTES.fullmatch(text) else '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    folded = text
    for _ in range(4):  # folding may undo normalising; two rounds are enough for all of Unicode 14
        again = unicodedata.normalize("NFC", folded.casefold())
        if again == folded:
            break
        folded = again
    return folded
