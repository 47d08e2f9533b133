"""Who a message really comes from, as far as its header section can prove it (rules.md 7.2).

A domain vouches for its author by a DKIM signature (RFC 6376), which is checked outside and judged here, or a mail
server that the portal trusts has checked it already and said so in Authentication-Results (RFC 8601). Everybody can
write such a field, so only those of configured servers count, and of these the topmost: the server that received the
mail last put it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from engine.address import canonical_domain, read_addresses
from engine.message import Message

__all__ = ["Policy", "Proof", "Signature", "author_domain", "parse_policy", "prove_by_results", "prove_by_signature"]

MAX_FIELD = 16384
COMMENT = re.compile(r"\((?:[^()\\]|\\.)*\)")
# RFC 8601 §2.2: resinfo = methodspec [ reasonspec ] *( propspec ), loosely: words with an equals sign between.
RESULT = re.compile(r"^\s*([A-Za-z0-9-]+)(?:/[0-9]+)?\s*=\s*([A-Za-z]+)")
PROPERTY = re.compile(r"\b(header\.(?:from|d|i)|policy\.[a-z-]+)\s*=\s*\"?([^\s;\"]+)")
TAG = re.compile(r"^\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$", re.DOTALL)

Organization = Callable[[str], str]
"""The organizational domain of a domain (RFC 7489 §3.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What proves the author: `method` is `login`, `dkim` or `results`; `domain` vouched for it."""

    method: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A DKIM signature that verified: its domain, the names of the fields it covers, and whether of the whole body."""

    domain: str
    fields: frozenset[str]
    covers_body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Of a DMARC record (RFC 7489 §6.3), what counts here: whether a signing domain must be the author's exactly."""

    is_strict: bool = False


def author_domain(message: Message) -> str | None:
    """The one domain of the From field; `None` when there are several fields, several authors or none."""
    if len(message.header.all(b"from")) != 1 or len(message.authors) != 1:
        return None
    return canonical_domain(message.authors[0].rpartition("@")[2])


def parse_policy(record: str) -> Policy | None:
    """Reads a DMARC record; `None` when it is none."""
    tags = {match[1]: match[2] for part in record.split(";") if (match := TAG.match(part))}
    return Policy(is_strict=tags.get("adkim", "r") == "s") if tags.get("v") == "DMARC1" else None


def prove_by_signature(
    message: Message, signatures: Iterable[Signature], policy: Policy, organization: Organization
) -> Proof | None:
    """A verified signature of the author's domain that covers all of the body and every field that is acted on.

    A signature with a length (`l=`) leaves room for more text, one without To leaves room for other recipients, and one
    without Resent-From lets anybody send on in the author's name what the author once signed.
    """
    domain = author_domain(message)
    if domain is None:
        return None
    needed = {"from"} | {name for name in ("to", "cc") if message.header.has((name.encode(),))}
    if not _is_in_from(message):
        needed.add("resent-from")
    for each in signatures:
        if each.covers_body and needed <= each.fields and _aligned(each.domain, domain, policy, organization):
            return Proof(method="dkim", domain=canonical_domain(each.domain))
    return None


def prove_by_results(message: Message, trusted: Collection[str], organization: Organization) -> Proof | None:
    """The topmost Authentication-Results field of a trusted server, where it says that DMARC or an aligned DKIM passed.

    It does not say which fields were signed, so it is no word about who redirected a message.

    quirk_no_authserv_id: Exchange Online writes none and begins with the first result; the portal trusts such a field
    by listing "-".
    """
    domain = author_domain(message)
    wanted = {each.lower() for each in trusted}
    if domain is None or not wanted or not _is_in_from(message):
        return None
    for value in message.header.all(b"authentication-results"):
        server, results = _read_results(value)
        if server in wanted:
            passed = any(_vouches(result, domain, organization) for result in results)
            return Proof(method="results", domain=domain) if passed else None
    return None


def _is_in_from(message: Message) -> bool:
    """Whether the author is the one in From, and not who says to have sent the message on (RFC 5322 §3.6.6)."""
    return message.authors == read_addresses(b",".join(message.header.all(b"from")))


def _read_results(value: bytes) -> tuple[str, list[str]]:
    text = COMMENT.sub(" ", value[:MAX_FIELD].decode("utf-8", "replace"))
    first, *rest = text.split(";")
    if RESULT.match(first):
        return "-", [first, *rest]
    words = first.split()
    return (words[0].lower() if words else ""), rest


def _vouches(result: str, domain: str, organization: Organization) -> bool:
    match = RESULT.match(result)
    if match is None or match[2].lower() != "pass":
        return False
    properties = dict(PROPERTY.findall(result))
    method = match[1].lower()
    if method == "dmarc":
        return canonical_domain(properties.get("header.from", "")) == domain
    if method == "dkim":
        named = properties.get("header.d") or properties.get("header.i", "").rpartition("@")[2]
        return bool(named) and _aligned(named, domain, Policy(), organization)
    return False


def _aligned(signer: str, domain: str, policy: Policy, organization: Organization) -> bool:
    """RFC 7489 §3.1.1."""
    name = canonical_domain(signer)
    return name == domain or (not policy.is_strict and organization(name) == organization(domain))
