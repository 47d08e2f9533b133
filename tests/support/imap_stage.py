r"""Plays IMAP transcripts, which are written as those of SMTP (see `transcript`), and watches for what must never be.

Settings:
    listener: clear (default), starttls, implicit
    route: listener (default), login
    users: any (default), known
    provider: its capabilities
    greeting: what it greets with, or "none" where that was in clear; by default a line with its capabilities
    limits: name=number ...                 fields of proxy.limits.Limits
    watcher: yes (default), none, broken
    known: mailbox/uidvalidity uid; ...      messages that were seen before
    after: name of a transcript in preludes/ that is played first

The watcher wants the content of messages whose header section names kim@cust.example, and logs what is put into
"Log to CRM". Once the client is logged in, both sides get what the other says, unless a group says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from transcript import Group, Manner, Transcript, read_transcript

from proxy.failures import Failure
from proxy.imap.opening import Opened
from proxy.imap.passage import Passage
from proxy.imap.session import Authenticated, Policy, Session
from proxy.imap.watch import Appended, CopiedToLog, HeaderSeen, Place, Seen, Unobservable
from proxy.limits import Limits

__all__ = ["CAPABILITIES", "ImapWire", "Stage", "Watcher", "manner", "play", "read_whole"]

CAPABILITIES = "IMAP4rev1 LITERAL+ SASL-IR ID IDLE COMPRESS=DEFLATE STARTTLS LOGIN-REFERRALS AUTH=PLAIN AUTH=LOGIN"
HEADER_LIMIT = 4096


class Watch:
    """Watches one message and keeps what it wanted."""

    def __init__(self, watcher: Watcher, place: Place) -> None:
        self.watcher = watcher
        self.place = place
        self.section: bytes | None = None
        self.wants = False
        self.kept = bytearray()
        self.is_over = False

    def header_section(self, section: bytes) -> bool:
        self.watcher.require(self.section is None and not self.is_over, "a watch was shown a second header section")
        self.section = section
        self.wants = b"kim@cust.example" in section
        return self.wants

    def content(self, octets: bytes) -> bool:
        self.watcher.require(self.wants and not self.is_over, "content was collected that nobody wanted")
        self.kept += octets
        return True

    def end(self, sighting: Seen | Appended) -> None:
        self.watcher.require(
            not self.is_over and self.section is not None, "a message ended twice or before its header"
        )
        self.watcher.require(not self.wants or len(self.kept) == sighting.size, "a message was not kept whole")
        self.is_over = True
        verb = "appended to" if isinstance(sighting, Appended) else "seen in"
        flags = "?" if sighting.flags is None else f"({' '.join(sorted(sighting.flags))})"
        kept = "kept" if self.wants else "not wanted"
        self.watcher.note(f"{verb} {written(sighting.place)} {sighting.uid} {flags} {sighting.size} octets, {kept}")
        if self.wants:
            self.watcher.messages.append(bytes(self.kept))

    def discard(self) -> None:
        self.watcher.require(not self.is_over, "a message that is over was discarded")
        self.is_over = True
        self.watcher.note("discarded")


class Watcher:
    """Watches one session."""

    def __init__(self, known: frozenset[str] = frozenset(), *, is_broken: bool = False) -> None:
        self.known = known
        self.is_broken = is_broken
        self.events: list[str] = []
        self.breaches: list[str] = []
        self.messages: list[bytes] = []
        self.watches: list[Watch] = []

    def note(self, event: str) -> None:
        self.events.append(event)

    def require(self, holds: bool, breach: str) -> None:
        if not holds:
            self.breaches.append(breach)

    def is_known(self, place: Place, uid: int) -> bool:
        return f"{written(place)} {uid}" in self.known

    def is_for_log(self, mailbox: str) -> bool:
        return mailbox == "Log to CRM"

    def watch(self, place: Place) -> Watch:
        if self.is_broken:
            raise RuntimeError("the watcher is broken")
        self.watches.append(Watch(self, place))
        return self.watches[-1]

    def tell(self, event: HeaderSeen | CopiedToLog | Unobservable) -> None:
        match event:
            case HeaderSeen():
                self.note(f"header in {written(event.place)} {event.uid}, {len(event.section)} octets")
            case CopiedToLog():
                self.note(f"copied {event.uids} of {written(event.place)} to {written(event.log)} {event.log_uids}")
            case Unobservable():
                self.note(f"unobservable: {event.why}")


def written(place: Place) -> str:
    return f"{place.mailbox}/{place.uidvalidity}" + (f" ({place.folder})" if place.folder else "")


@dataclass(slots=True)
class ImapWire:
    """What the session does to the world. Breaches are what it must never do."""

    watcher: Watcher | None = None
    client: bytearray = field(default_factory=bytearray)
    provider: bytearray = field(default_factory=bytearray)
    events: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    delays: list[Callable[[], None]] = field(default_factory=list)
    checks: list[Callable[[bool], None]] = field(default_factory=list)
    is_dialling: bool = False
    is_connected: bool = False
    is_upgrading: bool = False
    client_is_closed: bool = False
    authenticated: Authenticated | None = None
    passage: Passage | None = None

    def _require(self, holds: bool, breach: str) -> None:
        if not holds:
            self.breaches.append(breach)

    def to_client(self, octets: bytes) -> None:
        self._require(not octets or not self.client_is_closed, "a client was spoken to after its connection was closed")
        self._require(not self.is_upgrading, "the client was spoken to during its handshake")
        self.client += octets

    def to_provider(self, octets: bytes) -> None:
        self._require(self.is_connected, "octets went to a provider that is not there")
        self.provider += octets

    def dial(self, login: str | None) -> None:
        self._require(not self.client_is_closed, "a provider was dialled for nobody")
        self.events.append("dial" if login is None else f"dial for {login}")
        self.is_dialling, self.is_connected = True, False

    def upgrade_client(self, response: bytes) -> None:
        self.client += response
        self.events.append("start TLS with the client")
        self.is_upgrading = True

    def close_client(self) -> None:
        if not self.client_is_closed:
            self.events.append("close the client")
        self.client_is_closed = True

    def drop_provider(self) -> None:
        if self.is_connected:
            self.events.append("drop the provider")
        self.is_connected = self.is_dialling = False

    def hold_client(self, on: bool) -> None: ...

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        self.events.append(f"wait {seconds:g} s")
        self.delays.append(then)

    def check_user(self, login: str, then: Callable[[bool], None]) -> None:
        self.events.append(f"check user {login}")
        self.checks.append(then)

    def lack_room(self, login: str) -> None:
        self.events.append(f"no room for {login}")

    def pass_through(self, authenticated: Authenticated) -> None:
        again = authenticated.credentials
        how = "again" if again is not None else "once"
        self.events.append(f"logged in as {authenticated.login}, {how}")
        self.authenticated = authenticated
        self.passage = Passage(
            self.to_client,
            self.to_provider,
            self.watcher,
            capabilities=authenticated.capabilities,
            header_limit=HEADER_LIMIT,
        )
        self.passage.client_octets(authenticated.client_octets)
        self.passage.provider_octets(authenticated.provider_octets)


class Stage:
    """A session with its wire, as the settings of a transcript want them."""

    def __init__(self, settings: dict[str, str]) -> None:
        watcher = settings.get("watcher", "yes")
        known = frozenset(each.strip() for each in settings.get("known", "").split(";"))
        self.watcher = Watcher(known, is_broken=watcher == "broken")
        self.wire = ImapWire(self.watcher if watcher != "none" else None)
        self.watcher.events = self.wire.events
        self.watcher.breaches = self.wire.breaches
        self.listed = settings.get("provider", CAPABILITIES).encode()
        greeting = settings.get("greeting", f"* OK [CAPABILITY {self.listed.decode()}] Provider ready.")
        self.greeting = greeting.encode() + b"\r\n" if greeting != "none" else None
        limits = dict(word.split("=") for word in settings.get("limits", "").split())
        listener = settings.get("listener", "clear")
        self.session = Session(
            self.wire,
            Policy(
                limits=Limits(**{name: int(value) for name, value in limits.items()}),
                failed_login_delay=3.0,
                starttls=listener == "starttls",
                route_is_known=settings.get("route", "listener") == "listener",
                known_users_only=settings.get("users", "any") == "known",
                offer=lambda: self.listed.split(),
            ),
            is_secure=listener == "implicit",
        )

    def client_says(self, octets: bytes) -> None:
        if self.wire.passage is not None:
            self.wire.passage.client_octets(octets)
        elif not self.wire.client_is_closed:
            self.session.receive(octets)

    def provider_says(self, octets: bytes) -> None:
        if self.wire.passage is not None:
            self.wire.passage.provider_octets(octets)
        elif self.wire.is_connected:
            self.session.provider_octets(octets)

    def befall(self, event: str) -> None:
        for name, doing in EVENTS.items():
            if event == name or event.startswith(name + " "):
                doing(self, event[len(name) + 1 :])
                return
        raise ValueError(f"nobody knows the event {event!r}")

    def provider_is_ready(self) -> None:
        assert self.wire.is_dialling
        self.wire.is_dialling, self.wire.is_connected = False, True
        self.session.provider_ready(Opened(self.listed, self.greeting))

    def provider_fails(self, failure: Failure) -> None:
        assert self.wire.is_dialling
        self.wire.is_dialling = False
        self.session.provider_failed(failure)

    def provider_is_lost(self) -> None:
        if self.wire.passage is not None:
            self.wire.passage.provider_lost()
        elif self.wire.is_connected:
            self.wire.is_connected = False
            self.session.provider_lost()

    def client_is_lost(self) -> None:
        if self.wire.passage is not None:
            self.wire.passage.client_lost()
        else:
            self.wire.client_is_closed = True
            self.session.client_lost()

    def client_is_secure(self) -> None:
        assert self.wire.is_upgrading
        self.wire.is_upgrading = False
        self.session.client_is_secure()


EVENTS: dict[str, Callable[[Stage, str], None]] = {
    "client connects": lambda stage, _: stage.session.start(),
    "client is secure": lambda stage, _: stage.client_is_secure(),
    "client lost": lambda stage, _: stage.client_is_lost(),
    "provider ready": lambda stage, _: stage.provider_is_ready(),
    "provider fails": lambda stage, text: stage.provider_fails(Failure[text]),
    "provider lost": lambda stage, _: stage.provider_is_lost(),
    "delay over": lambda stage, _: stage.wire.delays.pop(0)(),
    "user": lambda stage, text: stage.wire.checks.pop(0)(text == "known"),
    "deadline passes": lambda stage, _: stage.session.expire(),
    "shut down": lambda stage, _: stage.session.shut_down(),
}
Cut = Callable[[bytes], list[bytes]]


def read_whole(path: Path) -> tuple[dict[str, str], list[Group]]:
    """The settings and groups of a transcript, those of its preludes first."""
    transcript: Transcript = read_transcript(path)
    name = transcript.settings.get("after")
    if name is None:
        return transcript.settings, transcript.groups
    preludes = path.parent if path.parent.name == "preludes" else path.parent / "preludes"
    settings, groups = read_whole(preludes / f"{name}.txt")
    return settings | transcript.settings, groups + transcript.groups


def play(path: Path, cut: Cut) -> Stage:
    """Plays a transcript, octets cut by `cut`, and asserts that all came as written. The stage is as it leaves it."""
    settings, groups = read_whole(path)
    stage = Stage(settings)
    wire = stage.wire
    for group in groups:
        client, provider, events = len(wire.client), len(wire.provider), len(wire.events)
        was_passing = wire.passage is not None
        said = {b">": b"", b"<<": b""}
        for mark, each in groupby(group.doings, key=lambda doing: doing[0]):
            if mark == "!":
                for _, event in each:
                    stage.befall(event.decode())
                continue
            octets = b"".join(octets for _, octets in each)
            said[mark.encode()] += octets
            for piece in cut(octets):
                (stage.client_says if mark == ">" else stage.provider_says)(piece)
        where = f"{path.name}, line {group.line}: "
        for_client, for_provider = group.client, group.provider
        if was_passing and not for_client and not for_provider:
            for_client, for_provider = said[b"<<"], said[b">"]
        came = bytes(wire.client[client:]), bytes(wire.provider[provider:]), wire.events[events:], wire.breaches
        assert came[0] == for_client, f"{where}the client got {came[0]!r}"
        assert came[1] == for_provider, f"{where}the provider got {came[1]!r}"
        assert came[2] == group.events, f"{where}the relay did {came[2]}"
        assert not came[3], f"{where}what must never be: {came[3]}"
    return stage


def manner(name: Manner) -> Cut:
    """Whole, or octet by octet."""
    return (lambda octets: [octets]) if name is Manner.WHOLE else lambda octets: [bytes((each,)) for each in octets]
