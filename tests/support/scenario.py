"""Worked scenarios as data: reads `tests/scenarios/rows.toml`, whose head says what each key means."""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from signer import Signer

import engine
from engine.address import canonical_domain
from engine.authentication import Proof
from engine.capture import Capture, Folder
from engine.decision import Decision, Direction, Source
from engine.directory import NeverLogScope, Rule, Switches
from store.directory import Directory

__all__ = ["DNS_RECORDS", "Expected", "Mail", "Row", "read_rows"]

DATE = b"Date: Tue, 24 Nov 2026 16:00:00 +0000\r\n"
SOURCES = {
    "R": Source.RELAY,
    "B": Source.BCC,
    "M": Source.OBSERVER,
    "G": Source.GATEWAY,
    "X": Source.JOURNAL,
    "L": Source.MANUAL,
}
DIRECTIONS = {None: None, "out": Direction.OUTGOING, "in": Direction.INCOMING}
# fmt: off
EXPECTED_KEYS = frozenset(("decision", "reason", "direction", "contacts", "user", "attribution", "flags"))
MAIL_KEYS = frozenset((
    "mail", "path", "login", "mailbox", "folder", "envelope", "refused", "from", "headers", "message_id", "signed",
    "minutes_ago", "body", "body_kib", "attachment_mib", "attached", "bare", "reply", "reason",
    "gives_up",
))
ROW_KEYS = MAIL_KEYS | EXPECTED_KEYS | frozenset((
    "id", "shows", "rule", "times", "portal", "users", "contacts_besides", "before", "after", "at_first",
    "also", "elsewhere", "record_flags", "record_reason", "records", "captures", "date", "refused_by_directory",
))
# fmt: on
SIGNERS: dict[str, Signer] = {}
DNS_RECORDS: dict[str, str | None] = {}
"""What the world's DNS says of the domains that signed."""


@dataclass(frozen=True)
class Mail:
    """One message of a row: its octets and its envelope."""

    path: str
    login: str
    author: str
    recipients: tuple[str, ...]
    capture_addresses: tuple[str, ...]
    refused: tuple[str, ...]
    gives_up: str | None
    mailboxes: tuple[str, ...]
    folder: str | None
    has_envelope: bool
    is_signed: bool
    content: bytes
    originals: tuple[bytes, ...]
    is_bare: bool
    minutes_ago: float

    @property
    def header_section(self) -> bytes:
        return self.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def captures(self) -> list[Capture]:
        """How the engine is told of it, as far as the header section and the envelope go."""
        accepted = tuple(each for each in self.recipients if each not in self.refused)
        proof = Proof(method="dkim", domain=self.author.rpartition("@")[2]) if self.is_signed else None
        known: dict[str, Any] = {
            "source": SOURCES[self.path],
            "refused": self.refused,
            "capture_addresses": frozenset(self.capture_addresses),
            "proof": proof,
        }
        if self.path == "R":
            return [Capture(login=self.login, recipients=accepted, **known)]
        folder = Folder(self.folder) if self.folder else None
        recipients = accepted if self.has_envelope else None
        boxes: tuple[str | None, ...] = self.mailboxes or (None,)
        return [Capture(mailbox=each, folder=folder, recipients=recipients, **known) for each in boxes]


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
        authors, to, cc, bcc = self._parties(values)
        path = values.get("path", self.path)
        captures = self._capture_addresses
        envelope = self.addresses(values["envelope"]) if "envelope" in values else (*to, *cc, *bcc)
        mailbox = values.get("mailbox", ())
        content, originals = self._content(values, f"{number}.{self.values['id'].split(',')[0]}")
        content, is_signed = _signed(content, values.get("signed", path != "R"))
        return Mail(
            path=path,
            login=self.address(values["login"]) if "login" in values else authors[0],
            author=authors[0],
            recipients=tuple(each for each in envelope if each not in captures),
            capture_addresses=tuple(each for each in envelope if each in captures) if path not in ("M", "L") else (),
            refused=self.addresses(values.get("refused", ())),
            gives_up=values.get("gives_up"),
            mailboxes=self.addresses([mailbox] if isinstance(mailbox, str) else mailbox) if path in ("M", "L") else (),
            folder="log" if path == "L" else values.get("folder"),
            has_envelope=path in ("R", "G", "X") or "envelope" in values,
            is_signed=is_signed,
            content=content,
            originals=originals,
            is_bare=bool(values.get("bare")),
            minutes_ago=values.get("minutes_ago", 0),
        )

    @property
    def _capture_addresses(self) -> frozenset[str]:
        keys = ("bcc_address", "forward_address")
        return frozenset(each[key] for each in self.portals.values() for key in keys if key in each)

    def _parties(self, values: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        match = re.fullmatch(r"(.+?) ->(?: (.+?))??(?: cc (.+?))?(?: bcc (.+?))?", values["mail"])
        assert match is not None, f"{self.id}: not a message: {values['mail']!r}"
        return tuple(self.addresses(re.split(r", ", part)) if part else () for part in match.groups())

    def _content(self, values: Mapping[str, Any], name: str) -> tuple[bytes, tuple[bytes, ...]]:
        """The octets, and those of the messages that are attached."""
        authors, to, cc, _ = self._parties(values)
        lines = [f"From: {values.get('from', ', '.join(authors))}"]
        lines += [f"{field}: {', '.join(each)}" for field, each in (("To", to), ("Cc", cc)) if each]
        written = [*lines, *values.get("headers", ())]
        if not any(each.startswith("Subject:") for each in written):
            written.append("Subject: Offer")
        section = "".join(line + "\r\n" for line in written).encode()
        if not values.get("bare"):
            msg_id = values.get("message_id", f"{name}@acme.example")
            section += b"" if any(each.startswith("Date:") for each in written) else DATE
            section += f"Message-ID: <{msg_id}>\r\n".encode()
        originals = tuple(
            _signed(self._content(each, f"{name}.{place}")[0], each.get("signed", False))[0]
            for place, each in enumerate(values.get("attached", ()))
        )
        body_headers, body = _with_attached(originals) if originals else _body(values)
        return section + body_headers + b"\r\n" + body, originals

    def captures(self) -> list[Capture]:
        """How the engine is told of the row's message."""
        return self.mail().captures()

    # -- the decision -------------------------------------------------------------------------------------------------

    @property
    def expected(self) -> Expected:
        return self.expect(self.values)

    @property
    def also(self) -> list[Expected]:
        """What is expected of the portal's further decisions on the message."""
        return [self.expect(each) for each in self.get("also", ())]

    def expect(self, values: Mapping[str, Any]) -> Expected:
        """What `values` say of a decision."""
        contacts = (re.fullmatch(r"(.+?)( \(bcc\))?", each) for each in values.get("contacts", ()))
        return Expected(
            values["decision"],
            values.get("reason"),
            DIRECTIONS[values.get("direction")],
            tuple(self.address(each[1]) + (each[2] or "") for each in contacts if each),
            self.address(values["user"]) if "user" in values else None,
            values.get("attribution"),
            frozenset(values.get("flags", ())),
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
            authserv_ids=portal.get("authserv_ids", ()),
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
            case {"access": name, "on": on}:
                await directory.set_user("P1", self.address(name), personal_email_access=on)
            case {"active": name, "on": on}:
                await directory.set_user("P1", self.address(name), active=on)
            case {"user": name, "connected": addresses}:
                await directory.set_user("P1", self.address(name), connected=addresses)
            case {"contact": primary}:
                await directory.add_contact("P1", primary)
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
        body = re.sub(r"\r?\n", "\r\n", values.get("body", "Hello.")).encode()
        return b"", body if body.endswith(b"\r\n") else body + b"\r\n"
    line = base64.b64encode(bytes(range(48))) + b"\r\n"  # 48 octets a line
    octets = line * (values["attachment_mib"] * 1024 * 1024 // 48)
    header = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n"
    first = b"--x\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--x\r\nContent-Type: application/octet-stream\r\n"
    return header, first + b"Content-Transfer-Encoding: base64\r\n\r\n" + octets + b"--x--\r\n"


def _with_attached(originals: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Header lines and the body that attaches messages whole."""
    header = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=out\r\n"
    parts = [b"Content-Type: text/plain\r\n\r\nSee below.\r\n"]
    parts += [b"Content-Type: message/rfc822\r\n\r\n" + each for each in originals]
    return header, b"".join(b"--out\r\n" + part + b"\r\n" for part in parts) + b"--out--\r\n"


@cache  # a signature has the time in it, and a message is one message
def _signed(content: bytes, by: str | bool) -> tuple[bytes, bool]:
    """The message signed by its author's domain or by another; and whether the author is proven so."""
    authors = engine.read(content).authors
    if not by or not authors:
        return content, False
    own = canonical_domain(authors[0].rpartition("@")[2])
    domain = own if by is True else by
    if domain not in SIGNERS:
        SIGNERS[domain] = Signer(domain)
        DNS_RECORDS.update(SIGNERS[domain].records)
    return SIGNERS[domain].sign(content), domain == own
