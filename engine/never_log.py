"""Never Log: which addresses an entry covers (rules.md 3.4).

Forms: `a@b` that address; `b`, `@b`, `*@b` that domain only; `*.b`, `*@*.b` its subdomains only. Both the written and
the canonical form of an address are compared (rules.md 2.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from engine.address import GOOGLE, canonical, canonical_domain

__all__ = ["NeverLogList", "compile_entries", "normalise_entry"]


@dataclass(frozen=True, slots=True)
class NeverLogList:
    """Compiled entries: addresses, domains, and domains whose subdomains are meant."""

    addresses: frozenset[str]
    domains: frozenset[str]
    parents: frozenset[str]

    def covers(self, written: str, subaddressed_domains: frozenset[str] = frozenset()) -> bool:
        """Whether an entry covers the address."""
        if not (self.addresses or self.domains or self.parents):
            return False
        forms = _forms(written, subaddressed_domains)
        if not self.addresses.isdisjoint(forms):
            return True
        return any(self._covers_domain(canonical_domain(form.rpartition("@")[2])) for form in forms)

    def covers_contact(self, written: str, primary: str, subaddressed_domains: frozenset[str] = frozenset()) -> bool:
        """Whether an entry covers the address in use, or names the contact by the primary address (rules.md 3.4)."""
        return self.covers(written, subaddressed_domains) or self._names(primary, subaddressed_domains)

    def _names(self, written: str, subaddressed_domains: frozenset[str]) -> bool:
        """Whether an entry is this very address."""
        return bool(self.addresses) and not self.addresses.isdisjoint(_forms(written, subaddressed_domains))

    def _covers_domain(self, domain: str) -> bool:
        if domain in self.domains:
            return True
        labels = domain.split(".")
        return any(".".join(labels[n:]) in self.parents for n in range(1, len(labels))) if self.parents else False


def normalise_entry(entry: str) -> str:
    """The one spelling of an entry: `a@b`, `*@b` or `*@*.b`. Raises `ValueError` when it is none of the forms."""
    text = entry.strip()
    local, at, domain = text.rpartition("@")
    if at and local not in ("", "*"):
        if not domain or " " in text or "*" in text:
            raise ValueError("write a@b, b, @b, *@b, *.b or *@*.b")
        return canonical(text)
    prefix = "*@*." if domain.startswith("*.") else "*@"
    name = canonical_domain(domain.removeprefix("*."))
    if not name or " " in name or "*" in name or name.startswith("."):
        raise ValueError("write a@b, b, @b, *@b, *.b or *@*.b")
    return prefix + name


@lru_cache(maxsize=4096)
def compile_entries(entries: tuple[str, ...]) -> NeverLogList:
    """Entries as typed to a list; those of no known form cover nothing."""
    addresses: set[str] = set()
    domains: set[str] = set()
    parents: set[str] = set()
    for entry in entries:
        try:
            spelt = normalise_entry(entry)
        except ValueError:
            continue
        if spelt.startswith("*@*."):
            parents.add(spelt[4:])
        elif spelt.startswith("*@"):
            domains |= GOOGLE if spelt[2:] in GOOGLE else {spelt[2:]}
        else:
            addresses |= {spelt, entry.strip().lower()}
    return NeverLogList(frozenset(addresses), frozenset(domains), frozenset(parents))


def _forms(written: str, subaddressed_domains: frozenset[str]) -> set[str]:
    """An address as written and in both canonical forms: with the portal's subaddressed domains and without."""
    return {canonical(written), canonical(written, subaddressed_domains), written.strip().lower()}
