r"""Reads and plays a transcript: one conversation of a client, the relay and a provider, as a plain text file.

The client stands on the left, the relay in the middle, the provider on the right:

    # what this shows
    setting: value

    >  MAIL FROM:<ann@ours.example>       the client says
    >> MAIL FROM:<ann@ours.example>       the provider gets
    << 250 2.1.0 Ok                       the provider says
    <  250 2.1.0 Ok                       the client gets
    !  client lost                        something befalls (see EVENTS)
    *  close the client                   the relay does something other than speaking

What is said or befalls (`>`, `<<`, `!`) is done in order; then what follows (`>>`, `<`, `*`) must be exactly what came
of it, on each of the three channels. A line ends with CRLF unless its last character is a backslash. `\r`, `\n`, `\t`,
`\0`, `\x..` and `\\` stand for octets, and `{a*5000}` for 5000 times "a".

The log's own addresses are log-p1@cap.example and fwd-p1@cap.example.

Settings, in lines before the first empty line:
    listener: clear (default), starttls, implicit
    route: listener (default: the provider is known), login, none (for capture addresses only)
    captures: known (default), asked (each recipient must be asked about)
    users: any (default), known
    provider: its EHLO lines, separated by ";"
    limits: name=number ...                 fields of proxy.limits.Limits
    tap: yes (default), none, waits (the reply waits for the capture), journals (the end waits for the journal),
        broken (nothing can be made durable)
    mending: no (default), yes
    after: name of a transcript in preludes/ that is played first
    play: whole, octets, glued              the ways to play it, when not all of them make sense
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from scripted_wire import ScriptedWire

from proxy.limits import Limits
from proxy.smtp.extension import parse_extensions
from proxy.smtp.session import Policy, Session

__all__ = ["Manner", "Transcript", "play", "read_transcript"]

HOSTNAME = b"relay.example"
EXTENSIONS = "PIPELINING; SIZE 1000000; 8BITMIME; CHUNKING; AUTH PLAIN LOGIN XOAUTH2 CRAM-MD5 SCRAM-SHA-256"
LINE = re.compile(r"(>>|<<|>|<|!|\*)(?: +(.*))?")
ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))|\{(.+?)\*([0-9]+)\}")
ESCAPED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
# RFC 2920 §3.1: these must be the last of a group, and what answers a 334 is a group of its own.
LAST_OF_A_GROUP = re.compile(rb"(?i)(EHLO|HELO|AUTH|DATA|VRFY|QUIT|STARTTLS)\b")


class Manner(Enum):
    """How octets are cut when a transcript is played."""

    WHOLE = "whole"
    OCTETS = "octets"
    GLUED = "glued"


@dataclass(slots=True)
class Group:
    """What is done, in order, and what must come of it."""

    doings: list[tuple[str, bytes]] = field(default_factory=list)
    client: bytes = b""
    provider: bytes = b""
    events: list[str] = field(default_factory=list)
    line: int = 0

    @property
    def has_expectations(self) -> bool:
        return bool(self.client or self.provider or self.events)


@dataclass(slots=True)
class Transcript:
    path: Path
    settings: dict[str, str]
    groups: list[Group]

    def manners(self) -> list[Manner]:
        return [Manner(each) for each in self.settings.get("play", "whole, octets, glued").split(", ")]


def read_transcript(path: Path) -> Transcript:
    """Reads a transcript file. Raises `ValueError` with the line's number."""
    settings: dict[str, str] = {}
    groups = [Group()]
    in_settings = True
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            in_settings = in_settings and not settings
        if not text.strip() or text.startswith("#"):
            continue
        match = LINE.fullmatch(text)
        if match is not None:
            in_settings = False
            _take(groups, match[1], match[2] or "", number)
        elif in_settings and ": " in text:
            name, _, value = text.partition(": ")
            settings[name] = value.strip()
        else:
            raise ValueError(f"{path.name}:{number}: neither a setting nor a line of the conversation: {text!r}")
    return Transcript(path, settings, groups)


def _take(groups: list[Group], mark: str, text: str, number: int) -> None:
    group = groups[-1]
    if mark in (">", "<<", "!"):
        if group.has_expectations:
            group = Group(line=number)
            groups.append(group)
        group.doings.append((mark, text.encode() if mark == "!" else octets_of(text)))
    elif mark == ">>":
        group.provider += octets_of(text)
    elif mark == "<":
        group.client += octets_of(text)
    else:
        group.events.append(text)


def octets_of(text: str) -> bytes:
    """The octets a line stands for."""
    ending = b"\r\n"
    if text.endswith("\\") and not text.endswith("\\\\"):
        text, ending = text[:-1], b""

    def unescaped(match: re.Match[bytes]) -> bytes:
        if match[3]:
            return match[3] * int(match[4])
        return bytes([int(match[1], 16)]) if match[1] else ESCAPED[match[2]]

    return ESCAPE.sub(unescaped, text.encode()) + ending


# -- playing ----------------------------------------------------------------------------------------------------------


class Stage:
    """A session with its wire, as the settings of a transcript want them."""

    def __init__(self, settings: dict[str, str]) -> None:
        tap = settings.get("tap", "yes")
        self.wire = ScriptedWire(
            taps=tap != "none",
            waits=tap == "waits",
            journals=tap == "journals",
            mends=settings.get("mending", "no") == "yes",
        )
        self.wire.keeps = tap != "broken"
        self.wire.knows_captures = settings.get("captures", "known") == "known"
        self.extensions = parse_extensions(
            each.strip().encode() for each in settings.get("provider", EXTENSIONS).split(";")
        )
        limits = dict(word.split("=") for word in settings.get("limits", "").split())
        listener = settings.get("listener", "clear")
        policy = Policy(
            hostname=HOSTNAME,
            limits=Limits(**{name: int(value) for name, value in limits.items()}),
            failed_login_delay=3.0,
            starttls=listener == "starttls",
            route_is_known=settings.get("route", "listener") == "listener",
            known_users_only=settings.get("users", "any") == "known",
            offer=lambda: self.extensions,
            relays=settings.get("route") != "none",
        )
        self.session = Session(self.wire, policy, is_secure=listener == "implicit")
        self.wire.session = self.session

    def befall(self, event: str) -> None:
        for name, doing in EVENTS.items():
            if event == name or event.startswith(name + " "):
                doing(self, event[len(name) + 1 :])
                return
        raise ValueError(f"nobody knows the event {event!r}")

    def tell(self, then: str) -> None:
        _, tell = self.wire.asking.pop(0)
        tell({"capture": True, "other": False, "unknown": None}[then])

    def check(self, then: str) -> None:
        self.wire.checks.pop(0)(then == "known")


EVENTS: dict[str, Callable[[Stage, str], None]] = {
    "client connects": lambda stage, _: stage.session.greet(),
    "client speaks first": lambda stage, _: stage.session.refuse_early_talk(),
    "client is secure": lambda stage, _: stage.session.client_is_secure(),
    "client lost": lambda stage, _: stage.wire.client_is_lost(),
    "provider ready": lambda stage, _: stage.wire.provider_is_ready(stage.extensions),
    "provider fails": lambda stage, text: stage.wire.provider_fails(text.encode() + b"\r\n"),
    "provider lost": lambda stage, _: stage.wire.provider_is_lost(),
    "delay over": lambda stage, _: stage.wire.delays.pop(0)(),
    "user": lambda stage, text: stage.check(text),
    "journalled": lambda stage, _: stage.wire.journalling.pop(0)(True),
    "not journalled": lambda stage, _: stage.wire.journalling.pop(0)(False),
    "kept": lambda stage, _: stage.wire.keeping.pop(0)(True),
    "not kept": lambda stage, _: stage.wire.keeping.pop(0)(False),
    "recipient": lambda stage, text: stage.tell(text),
    "captured": lambda stage, _: stage.wire.capturing.pop(0)(),
    "deadline passes": lambda stage, _: stage.session.expire(),
    "shut down": lambda stage, _: stage.wire.note("shuts down" if stage.session.shut_down() else "stays up"),
}


def play(transcript: Transcript, manner: Manner) -> Stage:
    """Plays the transcript and asserts that all came as written. The stage is as the transcript leaves it."""
    stage = Stage(_settings_of(transcript))
    for each in _preludes(transcript):
        _play_groups(stage, each.path.name, each.groups, Manner.WHOLE)
    _play_groups(stage, transcript.path.name, transcript.groups, manner)
    return stage


def _settings_of(transcript: Transcript) -> dict[str, str]:
    settings: dict[str, str] = {}
    for each in (*_preludes(transcript), transcript):
        settings |= each.settings
    return settings


def _preludes(transcript: Transcript) -> list[Transcript]:
    name = transcript.settings.get("after")
    if name is None:
        return []
    prelude = read_transcript(Path(__file__).parent.parent / "smtp/transcripts/preludes" / f"{name}.txt")
    return [*_preludes(prelude), prelude]


def _play_groups(stage: Stage, name: str, groups: list[Group], manner: Manner) -> None:
    for group in _glued(groups) if manner is Manner.GLUED else groups:
        wire = stage.wire
        client, provider, events = len(wire.client), len(wire.provider), len(wire.events)
        for mark, octets in _joined(group.doings):
            _do(stage, mark, octets, manner)
        where = f"{name}, line {group.line}, {manner.value}: "
        assert bytes(wire.client[client:]) == group.client, where + "what the client got"
        assert bytes(wire.provider[provider:]) == group.provider, where + "what the provider got"
        assert wire.events[events:] == group.events, where + "what the relay did"
        assert not wire.breaches, where + "what must never be"


def _joined(doings: list[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
    """Lines that follow each other on one channel are said in one go."""
    mark, said = "", b""
    for each, octets in doings:
        if each == mark and mark != "!":
            said += octets
            continue
        if mark:
            yield mark, said
        mark, said = each, octets
    if mark:
        yield mark, said


def _do(stage: Stage, mark: str, octets: bytes, manner: Manner) -> None:
    if mark == "!":
        stage.befall(octets.decode())
        return
    hear = stage.session.receive if mark == ">" else stage.wire.provider_says
    for piece in [octets[n : n + 1] for n in range(len(octets))] if manner is Manner.OCTETS else [octets]:
        hear(piece)


def _glued(groups: list[Group]) -> Iterator[Group]:
    """Groups joined where a client may send ahead: its octets come first, then the provider's in their order."""
    joined: Group | None = None
    for group in groups:
        if joined is not None and _may_follow(joined, group):
            ahead = [each for each in group.doings if each[0] == ">"]
            said = [each for each in group.doings if each[0] != ">"]
            first = [each for each in joined.doings if each[0] == ">"]
            rest = [each for each in joined.doings if each[0] != ">"]
            joined = Group(
                doings=first + ahead + rest + said,
                client=joined.client + group.client,
                provider=joined.provider + group.provider,
                events=joined.events + group.events,
                line=joined.line,
            )
            continue
        if joined is not None:
            yield joined
        joined = group
    if joined is not None:
        yield joined


def _may_follow(before: Group, group: Group) -> bool:
    said = [octets for mark, octets in before.doings if mark == ">"]
    if not said or LAST_OF_A_GROUP.match(said[-1]) or b"334 " in before.client:
        return False
    befalls = any(mark == "!" for mark, _ in before.doings + group.doings)
    follows = any(mark == ">" for mark, _ in group.doings) or not said
    return (
        bool(said) and follows and not befalls and not LAST_OF_A_GROUP.match(said[-1]) and b"334 " not in before.client
    )
