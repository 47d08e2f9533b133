"""The directory's records as administrators see them, and what is checked of what people type.

A value that is refused raises `DirectoryError`, whose text names the value and the mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from email_validator import EmailNotValidError, validate_email

from engine.address import canonical, canonical_domain
from engine.directory import NeverLogScope, Rule, Switches
from engine.never_log import normalise_entry

__all__ = [
    "ContactRecord",
    "DirectoryError",
    "PortalRecord",
    "UserRecord",
    "checked_address",
    "checked_domains",
    "checked_entry",
    "checked_logins",
    "checked_name",
    "checked_portal_name",
    "checked_servers",
    "portal_record",
    "switches_of",
]

MAX_ADDRESS = 254  # RFC 5321 §4.5.3.1.3 less the brackets
PLAIN_LOCAL_PART = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:\.[A-Za-z0-9_+-]{1,15}){0,2}")
MAX_NAME = 200  # characters, as wide as the columns
MAX_PORTAL_NAME = 100


class DirectoryError(Exception):
    """A change that cannot be made; the text names what was wrong and how to mend it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalRecord:
    """A portal as administrators see it."""

    id: int
    name: str
    rule: Rule
    switches: Switches
    bcc_address: str | None
    forward_address: str | None
    subaddressed_domains: tuple[str, ...]
    service_logins: tuple[str, ...]
    authserv_ids: tuple[str, ...]

    def canonical(self, address: str) -> str:
        """The form in which two addresses of one person are equal in this portal (rules.md 2.3)."""
        return canonical(address, frozenset(self.subaddressed_domains))


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRecord:
    """A user with addresses as written."""

    id: int
    portal: str
    account: str
    name: str | None
    aliases: tuple[str, ...]
    connected: tuple[str, ...]
    send_as: tuple[str, ...]
    personal_email_access: bool
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRecord:
    """A contact; the primary address is the first of `addresses`."""

    id: int
    portal: str
    primary: str
    addresses: tuple[str, ...]
    name: str | None
    owner: str | None


def checked_address(text: str) -> str:
    """The address as it will be kept, its domain in lower case. Raises `DirectoryError`."""
    local, _, domain = text.strip().rpartition("@")
    if PLAIN_LOCAL_PART.fullmatch(local):  # an import has millions of these, and few domains
        try:
            known = _checked_domain(domain)
        except EmailNotValidError:
            pass  # the whole address says better what is wrong with it
        else:
            if len(local) + 1 + len(known) <= MAX_ADDRESS:
                return f"{local}@{known}"
    try:
        return validate_email(text.strip(), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError as error:
        raise DirectoryError(f"{text!r} is no e-mail address: {error} Write it as name@domain.") from error


def checked_name(text: str | None) -> str | None:
    """A name on one line; `None` for an empty one. Raises `DirectoryError`."""
    name = " ".join((text or "").split())
    if not name.isprintable():
        raise DirectoryError(f"{text!r} is no name: it holds control characters; leave them out")
    if len(name) > MAX_NAME:
        raise DirectoryError(f"the name {name[:20]!r}... has {len(name)} characters; write at most {MAX_NAME}")
    return name or None


def checked_portal_name(text: str) -> str:
    """A portal's name. Raises `DirectoryError`."""
    name = checked_name(text)
    if name is None:
        raise DirectoryError("a portal needs a name; give one")
    if len(name) > MAX_PORTAL_NAME:
        raise DirectoryError(f"the name {name[:20]!r}... has {len(name)} characters; write at most {MAX_PORTAL_NAME}")
    return name


def checked_domains(domains: Iterable[str]) -> list[str]:
    """Domains as A-labels, each once. Raises `DirectoryError`."""
    found: dict[str, None] = {}
    for domain in domains:
        try:
            checked_address(f"x@{domain.strip()}")
        except DirectoryError as error:
            raise DirectoryError(f"{domain!r} is no domain; write it as example.com") from error
        found[canonical_domain(domain)] = None
    return list(found)


def checked_logins(logins: Iterable[str]) -> list[str]:
    """Names that service accounts log in with, each once. Raises `DirectoryError`."""
    found: dict[str, None] = {}
    for login in logins:
        name = login.strip()
        if not name or not name.isprintable() or " " in name:
            raise DirectoryError(f"{login!r} is no login; write what the service logs in with, without spaces")
        found[name] = None
    return list(found)


def checked_servers(servers: Iterable[str]) -> list[str]:
    """Names of servers whose Authentication-Results count, each once. Raises `DirectoryError`."""
    found: dict[str, None] = {}
    for server in servers:
        name = server.strip().lower()
        if not name or not name.isprintable() or any(each in ' ;()<>"' for each in name):
            raise DirectoryError(f"{server!r} is no authserv-id; write what stands first in the field: mx.example.com")
        found[name] = None
    return list(found)


def checked_entry(entry: str) -> str:
    """The one spelling of a Never Log entry. Raises `DirectoryError`."""
    try:
        spelt = normalise_entry(entry)
    except ValueError as error:
        raise DirectoryError(f"{entry!r} is no Never Log entry; {error}") from error
    if not spelt.isprintable() or any(each.isspace() for each in spelt):
        raise DirectoryError(f"{entry!r} is no Never Log entry; write a@b, b, @b, *@b, *.b or *@*.b")
    return spelt


def portal_record(row: Any) -> PortalRecord:
    """A row of the table `portal`."""
    return PortalRecord(
        id=row["id"],
        name=row["name"],
        rule=Rule(row["rule"]),
        switches=switches_of(row["switches"]),
        bcc_address=row["bcc_address"],
        forward_address=row["forward_address"],
        subaddressed_domains=tuple(row["subaddressed_domains"]),
        service_logins=tuple(row["service_logins"]),
        authserv_ids=tuple(row["authserv_ids"]),
    )


def switches_of(value: dict[str, Any]) -> Switches:
    """Switches as kept; what is missing has its default."""
    known = {key: each for key, each in value.items() if key in Switches.__dataclass_fields__}
    if "never_log_scope" in known:
        known["never_log_scope"] = NeverLogScope(known["never_log_scope"])
    return replace(Switches(), **known)


@lru_cache(maxsize=16384)
def _checked_domain(domain: str) -> str:
    """The domain as it is kept. Raises `EmailNotValidError`."""
    checked = validate_email(f"x@{domain}", check_deliverability=False, test_environment=True)
    return checked.domain
