"""Proving the author of a message that came without a login: DKIM signatures and DMARC policy, by asking DNS.

The library that verifies signatures is given no more than it can take: with some messages that are valid, and some keys
that anybody can publish, its time grows with the square of their size or faster (tests/authentication). So header
section and body are taken apart here, white space that "relaxed" does not count is folded before, and header sections,
signatures and keys beyond any use are not tried.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable

import dkim
import dns.exception
import dns.resolver
import structlog
from publicsuffixlist import PublicSuffixList

from engine.authentication import (
    Policy,
    Proof,
    Signature,
    author_domain,
    parse_policy,
    prove_by_results,
    prove_by_signature,
)
from engine.message import Message
from store.parsing import split

__all__ = ["AuthenticationUnavailable", "Authenticator", "resolver"]

log = structlog.get_logger("authentication")

MAX_SIGNATURES = 5  # of one message; each costs DNS questions and a hash of all of it
MAX_SIGNATURE = 16384  # octets; those with the largest keys and lists of fields have a tenth of it
MAX_FIELDS = 2000  # each signature goes through them once for each name that it lists
MAX_RECORD = 2048  # characters; a key of 8192 bits has 1400, and a longer one takes minutes of arithmetic
LIFETIME = 5.0  # seconds for one DNS question with its repetitions
CACHED = 4096
BLANKS = re.compile(rb"[\t ]+")
FIELD_END = re.compile(rb"\r?\n(?![\t ])")

Text = Callable[[str], str | None]


class AuthenticationUnavailable(Exception):
    """DNS does not answer now; asking again later may help."""


def resolver(nameservers: tuple[str, ...], *, seconds: float = LIFETIME) -> dns.resolver.Resolver:
    """A resolver with a cache; `nameservers` are "address" or "address:port", none means the system's.

    A question that is not answered within `seconds`, repetitions included, has failed.
    """
    made = dns.resolver.Resolver(configure=not nameservers)
    made.cache = dns.resolver.LRUCache(CACHED)
    made.lifetime = seconds
    if nameservers:
        pairs = [each.rpartition(":") if each.count(":") == 1 else (each, "", "53") for each in nameservers]
        made.nameservers = [address for address, _, _ in pairs]
        made.nameserver_ports = {address: int(port) for address, _, port in pairs}
    return made


class Authenticator:
    """Proves authors. One per process; its work runs in threads, because DNS and hashing large mail take their time."""

    def __init__(self, dns_resolver: dns.resolver.Resolver) -> None:
        self._resolver = dns_resolver

    async def prove(self, message: Message, octets: bytes, trusted: frozenset[str]) -> Proof | None:
        """What proves the author of `octets`, whose header section is `message`; `None` when nothing does.

        `trusted` are the servers whose Authentication-Results count. Raises `AuthenticationUnavailable`.
        """
        if author_domain(message) is None:
            return None
        if (proof := prove_by_results(message, trusted, _organization)) is not None:
            return proof
        return await asyncio.to_thread(self._prove_by_signature, message, octets)

    def _prove_by_signature(self, message: Message, octets: bytes) -> Proof | None:
        signatures = self._verified(octets)
        if not signatures:
            return None
        return prove_by_signature(message, signatures, self._policy(message), _organization)

    def _verified(self, octets: bytes) -> list[Signature]:
        section, body = split(octets)
        fields = [each.partition(b":") for each in FIELD_END.split(section) if each]
        if len(fields) > MAX_FIELDS:
            return []
        verifier = dkim.DKIM(timeout=LIFETIME)
        verifier.headers = [(name.rstrip(b" \t"), value + b"\r\n") for name, _, value in fields]
        signatures = [value for name, value in verifier.headers if name.lower() == b"dkim-signature"]
        return [
            found
            for place, field in enumerate(signatures[:MAX_SIGNATURES])
            if len(field) <= MAX_SIGNATURE and (found := self._verify(verifier, body, place, field))
        ]

    def _verify(self, verifier: dkim.DKIM, body: bytes, place: int, field: bytes) -> Signature | None:
        """What `field`, the signature at that place, says and proves to be true."""
        try:
            tags = dkim.parse_tag_value(field)
            verifier.body = BLANKS.sub(b" ", body) if tags.get(b"c", b"").endswith(b"/relaxed") else body
            if not verifier.verify(idx=place, dnsfunc=self._dkim_record):
                return None
        except dkim.DnsTimeoutError as error:
            raise AuthenticationUnavailable("DNS does not answer") from error
        except AuthenticationUnavailable:
            raise
        except Exception as error:  # the library raises what it likes on hostile fields
            log.info("a signature could not be read", cause=type(error).__name__)
            return None
        names = frozenset(name.strip().decode("ascii", "replace").lower() for name in tags[b"h"].split(b":"))
        return Signature(
            domain=tags[b"d"].strip().decode("ascii", "replace"), fields=names, covers_body=b"l" not in tags
        )

    def _dkim_record(self, name: bytes, timeout: float = LIFETIME) -> bytes | None:
        text = self._text(name.decode("ascii", "replace"))
        return text.encode() if text is not None else None

    def _policy(self, message: Message) -> Policy:
        """The author domain's DMARC policy, else its organization's (RFC 7489 §6.6.3), else the default."""
        domain = author_domain(message) or ""
        for name in dict.fromkeys((domain, _organization(domain))):
            text = self._text(f"_dmarc.{name}")
            if text is not None and (policy := parse_policy(text)) is not None:
                return policy
        return Policy()

    def _text(self, name: str) -> str | None:
        """The first TXT record of `name`, unless it is too long. Raises `AuthenticationUnavailable`."""
        try:
            answer = self._resolver.resolve(name, "TXT")
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except dns.exception.Timeout as error:
            raise AuthenticationUnavailable("DNS does not answer in time") from error
        except dns.exception.DNSException as error:
            log.info("DNS has no answer", name=name, cause=type(error).__name__)
            return None
        for record in answer:
            text = b"".join(record.strings).decode("utf-8", "replace")
            return text if len(text) <= MAX_RECORD else None
        return None


def _organization(domain: str) -> str:
    """What owns `domain`, as far as anybody can tell from its name (RFC 7489 §3.2)."""
    return _public_suffixes().privatesuffix(domain) or domain


@functools.cache
def _public_suffixes() -> PublicSuffixList:
    """Read when it is first needed and then kept: reading it takes some hundredths of a second of the processor."""
    return PublicSuffixList()
