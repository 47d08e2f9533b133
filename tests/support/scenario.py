"""Worked scenarios as data: reads `tests/scenarios/rows.toml`, whose head says what each key means."""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.capture import Capture
from engine.decision import Decision, Direction, Source
from engine.directory import NeverLogScope, Rule, Switches
from store.directory import Directory

__all__ = ["Expected", "Mail", "Row", "read_rows"]

DATE = b"Date: Tue, 24 Nov 2026 16:00:00 +0000\r\n"
SOURCES = {"M": Source.OBSERVER, "G": Source.GATEWAY, "X": Source.JOURNAL}
DIRECTIONS = {None: None, "out": Direction.OUTGOING, "in": Direction.INCOMING}
# fmt: off
MAIL_KEYS = frozenset((
    "mail", "login", "refused", "from", "headers", "body", "body_kib", "attachment_mib", "bare",
))
ROW_KEYS = MAIL_KEYS | frozenset((
    "id", "shows", "path", "rule", "mailbox", "envelope", "times", "reply", "portal", "users", "contacts_besides",
    "before", "after", "decision", "reason", "direction", "contacts", "user", "attribution", "flags", "record_flags",
    "records", "captures", "refused_by_directory",
))
# fmt: on


@dataclass(frozen=True)
class Mail:
    """One message of a row: its octets and its envelope."""

    login: str
    author: str
    recipients: tuple[str, ...]
    refused: tuple[str, ...]
    content: bytes
    is_bare: bool

    @property
    def header_section(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


@dataclass(frozen=True)
class Expected:
    """What the row says of the decision, in the words of the row."""

    decision: str
    reason: str | None
    direction: Direction | None
    contacts: tuple[str, ...]
    user: str | None
    attribution: str | None
    flags: frozenset[str]

    @classmethod
    def of(cls, decision: Decision) -> Expected:
        """The same of a decision."""
        return cls(
            decision.outcome,
            decision.reason,
            decision.direction,
            tuple(each.address + (" (bcc)" if each.bcc else "") for each in decision.contacts),
            decision.user.address if decision.user else None,
            decision.attribution,
            frozenset(decision.flags),
        )


@dataclass(frozen=True)
class Row:
    """One row, and the portals that it takes place in."""

    values: Mapping[str, Any]
    portals: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.values) - ROW_KEYS
        assert not unknown, f"row {self.values.get('id')}: unknown keys {sorted(unknown)}"
        home = self.portals["P1"]
        people = {name: each["account"] for name, each in home["users"].items()}
        people |= {name: each["account"] for name, each in self.values.get("users", {}).items() if "account" in each}
        contacts = home["contacts"] | self.values.get("contacts_besides", {})
        object.__setattr__(self, "names", {name: each["primary"] for name, each in contacts.items()} | people)

    @property
    def id(self) -> str:
        return f"{self.values['id']}: {self.values['shows']}"

    @property
    def path(self) -> str:
        return str(self.values["path"])

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    # -- the message --------------------------------------------------------------------------------------------------

    def address(self, name: str) -> str:
        """What a name stands for; an address stands for itself."""
        return name if "@" in name else self.names[name]

    def addresses(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(self.address(each) for each in names)

    def mail(self, step: Mapping[str, Any] | None = None, *, number: int = 0) -> Mail:
        """The message of the row, or of one of its steps; `number` tells its id from others'."""
        values = self.values if step is None else step
        unknown = set(values) - (ROW_KEYS if step is None else MAIL_KEYS)
        assert not unknown, f"{self.id}: unknown keys {sorted(unknown)} in a message"
        match = re.fullmatch(r"(.+?) ->(?: (.+?))??(?: cc (.+?))?(?: bcc (.+?))?", values["mail"])
        assert match is not None, f"{self.id}: not a message: {values['mail']!r}"
        authors, to, cc, bcc = (self.addresses(re.split(r", ", part)) if part else () for part in match.groups())
        login = self.address(values["login"]) if "login" in values else authors[0]
        lines = [f"From: {values.get('from', ', '.join(authors))}"]
        lines += [f"{name}: {', '.join(each)}" for name, each in (("To", to), ("Cc", cc)) if each]
        written = [*lines, *values.get("headers", ())]
        if not any(each.startswith("Subject:") for each in written):
            written.append("Subject: Offer")
        section = "".join(line + "\r\n" for line in written).encode()
        is_bare = bool(values.get("bare"))
        if not is_bare:
            section += DATE + f"Message-ID: <{number}.{self.values['id'].split(',')[0]}@acme.example>\r\n".encode()
        body_headers, body = _body(values)
        return Mail(
            login=login,
            author=authors[0],
            recipients=(*to, *cc, *bcc),
            refused=self.addresses(values.get("refused", ())),
            content=section + body_headers + b"\r\n" + body,
            is_bare=is_bare,
        )

    def captures(self) -> list[Capture]:
        """How the message is seen where it does not come through the relay."""
        source = SOURCES[self.path]
        envelope = self.addresses(self.values["envelope"]) if "envelope" in self.values else None
        if self.path == "M":
            boxes = self.addresses(self.values["mailbox"])
            return [Capture(source=source, mailbox=each, recipients=envelope) for each in boxes]
        return [Capture(source=source, recipients=envelope or self.mail().recipients)]

    # -- the decision -------------------------------------------------------------------------------------------------

    @property
    def expected(self) -> Expected:
        contacts = (re.fullmatch(r"(.+?)( \(bcc\))?", each) for each in self.get("contacts", ()))
        return Expected(
            self.values["decision"],
            self.get("reason"),
            DIRECTIONS[self.get("direction")],
            tuple(self.address(each[1]) + (each[2] or "") for each in contacts if each),
            self.address(self.values["user"]) if "user" in self.values else None,
            self.get("attribution"),
            frozenset(self.get("flags", ())),
        )

    # -- the directory ------------------------------------------------------------------------------------------------

    @property
    def directory_key(self) -> tuple[Any, ...]:
        """Rows with the same key have the same directory."""
        return tuple(self.get(key) for key in ("rule", "portal", "users", "contacts_besides"))

    async def fill(self, directory: Directory) -> None:
        """Makes the portals of the row in an empty directory."""
        for name, portal in self.portals.items():
            changes = self.get("portal", {}) if name == "P1" else {}
            await self._fill_portal(directory, name, portal | changes, is_home=name == "P1")

    async def _fill_portal(self, directory: Directory, name: str, portal: Mapping[str, Any], *, is_home: bool) -> None:
        await directory.add_portal(
            name,
            rule=Rule(self.values.get("rule", "all") if is_home else portal["rule"]),
            bcc_address=portal.get("bcc_address"),
            forward_address=portal.get("forward_address"),
            subaddressed_domains=portal.get("subaddressed_domains", ()),
            service_logins=portal.get("service_logins", ()),
        )
        if "switches" in portal:
            switches = dict(portal["switches"])
            if "never_log_scope" in switches:
                switches["never_log_scope"] = NeverLogScope(switches["never_log_scope"])
            await directory.set_portal(name, switches=Switches(**switches))
        changes = self.get("users", {}) if is_home else {}
        people = {each: values | changes.get(each, {}) for each, values in portal["users"].items()}
        people |= {each: values for each, values in changes.items() if each not in people}
        for values in people.values():
            await self._add_user(directory, name, values)
        for each, values in people.items():
            if "send_as" in values:
                await directory.set_user(name, people[each]["account"], send_as=self.addresses(values["send_as"]))
        accounts = {each: values["account"] for each, values in people.items()}
        besides = self.get("contacts_besides", {}) if is_home else {}
        for contact in (portal["contacts"] | besides).values():
            owner = accounts[contact["owner"]] if "owner" in contact else None
            await directory.add_contact(name, contact["primary"], others=contact.get("others", ()), owner=owner)
        for entry in portal.get("never_log", ()):
            await directory.add_never_log(name, entry)

    async def _add_user(self, directory: Directory, portal: str, values: Mapping[str, Any]) -> None:
        known = ("aliases", "connected", "personal_email_access", "active")
        fields = {key: values[key] for key in known if key in values}
        await directory.add_user(portal, values["account"], **fields)
        for entry in values.get("never_log", ()):
            await directory.add_never_log(portal, entry, user=values["account"])

    async def change(self, directory: Directory, step: Mapping[str, Any]) -> None:
        """A change of the directory that a row asks for before or after its message."""
        match step:
            case {"rule": rule}:
                await directory.set_portal("P1", rule=Rule(rule))
            case {"contact": primary}:
                await directory.add_contact("P1", primary)
            case {"access": name, "on": on}:
                await directory.set_user("P1", self.address(name), personal_email_access=on)
            case _:
                raise AssertionError(f"{self.id}: not a change: {dict(step)}")


def read_rows(path: Path) -> list[Row]:
    """The rows of the file, in order. Ids must differ."""
    document = tomllib.loads(path.read_text("utf-8"))
    rows = [Row(values, document["portals"]) for values in document["row"]]
    ids = [row.values["id"] for row in rows]
    assert len(set(ids)) == len(ids), "two rows have one id"
    return rows


def _body(values: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Header lines that the body asks for, and the body."""
    if "body_kib" in values:
        return b"", (b"x" * 62 + b"\r\n") * (values["body_kib"] * 16)
    if "attachment_mib" not in values:
        body = values.get("body", "Hello.").encode()
        return b"", body if body.endswith(b"\r\n") else body + b"\r\n"
    line = base64.b64encode(bytes(range(48))) + b"\r\n"  # 48 octets a line
    octets = line * (values["attachment_mib"] * 1024 * 1024 // 48)
    header = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n"
    first = b"--x\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--x\r\nContent-Type: application/octet-stream\r\n"
    return header, first + b"Content-Transfer-Encoding: base64\r\n\r\n" + octets + b"--x--\r\n"
