"""A `Wire` that keeps what the session does to the world, and lets a test say when what it asked for comes true.

It also watches for what a session must never do, whatever happens: each breach is a sentence in `breaches`.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.smtp.extension import Extensions
from proxy.smtp.reply import ProviderViolation, Reply, ReplyReader
from proxy.smtp.session import Envelope, Session

__all__ = ["CAPTURES", "ScriptedTap", "ScriptedWire"]

DATE = b"Tue, 03 Feb 2026 10:00:00 +0000"
MESSAGE_ID = b"<added@relay.example>"
NO_CONTENT = (b"RSET", b"NOOP", b"EHLO", b"QUIT")
CAPTURES = (b"log-p1@cap.example", b"fwd-p1@cap.example")


class ScriptedTap:
    """Watches one message. `journals` and `waits` say whether the end, and the reply to it, wait for the test."""

    def __init__(self, wire: ScriptedWire, envelope: Envelope) -> None:
        self.wire = wire
        self.envelope = envelope
        self.section: bytes | None = None
        self.octets = bytearray()
        self.pieces: list[bytes] = []
        self.is_chunked = False
        self.end: str | None = None

    def header_section(self, section: bytes, *, dot_stuffed: bool) -> None:
        self.wire.require(self.section is None, "a tap was shown two header sections")
        # What an earlier chunk held is shown as content before anybody knows whether it is a header section at all.
        is_beginning = not section or section.startswith(self.octets)
        self.wire.require(is_beginning, "a tap was shown content of the body before the header section")
        self.section = section
        self.is_chunked = not dot_stuffed

    def content(self, octets: bytes) -> None:
        self.octets += octets
        self.pieces.append(octets)

    def journal(self, then: Callable[[bool], None]) -> bool:
        if not self.wire.journals:
            return False
        self.wire.note("tap journals")
        self.wire.journalling.append(then)
        return True

    def keep(self, then: Callable[[bool], None]) -> bool:
        self._ends("kept", None)
        self.wire.require(not self.envelope.has_accepted, "a message that somebody else gets was taken over")
        if self.wire.keeps:
            self.wire.keeping.append(then)
        return self.wire.keeps

    def deliver(self, reply: Reply, then: Callable[[], None]) -> bool:
        self._ends("delivered", reply)
        self.wire.require(bytes(self.octets[: len(self.section or b"")]) == self.section, "content lacks its section")
        if not self.wire.waits:
            return False
        self.wire.capturing.append(then)
        return True

    def refuse(self, reply: Reply) -> None:
        self._ends("refused", reply)

    def lose(self) -> None:
        self._ends("lost", None)

    def discard(self) -> None:
        self._ends("discarded", None)

    def _ends(self, end: str, reply: Reply | None) -> None:
        self.wire.require(self.end is None, f"a tap was {end} after it was {self.end}")
        self.end = end
        self.wire.note(f"tap {end}" + (f" {reply.line()}" if reply is not None else ""))


class ScriptedWire:
    """`session` is set by the test. `events` has what was done, but octets; those are in `client` and `provider`."""

    def __init__(self, *, taps: bool = True, waits: bool = False, journals: bool = False, mends: bool = False) -> None:
        self.session: Session
        self.client = bytearray()
        self.provider = bytearray()
        self.pieces: list[bytes] = []
        self.events: list[str] = []
        self.breaches: list[str] = []
        self.taps: list[ScriptedTap] = []
        self.waits = waits
        self.journals = journals
        self.is_held = False
        self.is_dialling = False
        self.is_connected = False
        self.client_is_closed = False
        self.client_is_gone = False
        self.delays: list[Callable[[], None]] = []
        self.checks: list[Callable[[bool], None]] = []
        self.journalling: list[Callable[[bool], None]] = []
        self.capturing: list[Callable[[], None]] = []
        self.keeping: list[Callable[[bool], None]] = []
        self.asking: list[tuple[bytes, Callable[[bool | None], None]]] = []
        self.knows_captures = True
        self.keeps = True
        self._has_taps = taps
        self._mends = mends
        self._reader: ReplyReader | None = None

    def note(self, event: str) -> None:
        self.events.append(event)

    def require(self, holds: bool, breach: str) -> None:
        if not holds:
            self.breaches.append(breach)

    # -- what the session asks for ------------------------------------------------------------------------------------

    def to_client(self, octets: bytes) -> None:
        if self.client_is_gone:
            return
        self.require(not octets or not self.client_is_closed, "a client was spoken to after its connection was closed")
        self.client += octets

    def to_provider(self, octets: bytes) -> None:
        self.require(self.is_connected or not octets, "octets went to a provider that is not there")
        is_command = all(tap.end is not None for tap in self.taps[-1:])
        if octets[:5].upper() == b"RCPT " and self.knows_captures and self._has_taps and is_command:
            is_named = any(each in octets for each in CAPTURES)
            self.require(not is_named, "the provider was told of a capture address")
        for tap in self.taps[-1:]:
            is_content = tap.end is None and octets[:4].upper() not in NO_CONTENT
            self.require(not (octets and is_content and tap.envelope.is_for_log_only), "the log's alone was passed on")
        self.provider += octets
        self.pieces.append(octets)

    def dial(self, login: str | None) -> None:
        self.require(not self.client_is_closed, "a provider was dialled for a client whose connection is closed")
        self.drop_provider()
        self.note("dial" if login is None else f"dial for {login}")
        self.is_dialling = True

    def upgrade_client(self) -> None:
        self.note("start TLS with the client")

    def close_client(self) -> None:
        if not self.client_is_closed:
            self.note("close the client")
        self.client_is_closed = True

    def drop_provider(self) -> None:
        if self.is_connected:
            self.note("drop the provider")
        self.is_connected = self.is_dialling = False
        self._reader = None

    def hold_client(self, on: bool) -> None:
        self.is_held = on

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        self.note(f"wait {seconds:g} s")
        self.delays.append(then)

    def check_user(self, login: str, then: Callable[[bool], None]) -> None:
        self.note(f"check user {login}")
        self.checks.append(then)

    def is_capture_address(self, path: bytes) -> bool | None:
        return path in CAPTURES if self.knows_captures else None

    def ask_capture_address(self, path: bytes, then: Callable[[bool | None], None]) -> None:
        self.note(f"ask about {path.decode()}")
        self.asking.append((path, then))

    def tap(self, envelope: Envelope) -> ScriptedTap | None:
        self.note(f"tap for {_written(envelope)}")
        if not self._has_taps:
            return None
        self.taps.append(ScriptedTap(self, envelope))
        return self.taps[-1]

    def undelivered(self, envelope: Envelope) -> None:
        self.require(not envelope.has_accepted, "an accepted recipient was told of as undelivered")
        self.require(all(tap.envelope is not envelope for tap in self.taps), "a message was told of as none")
        self.note(f"undelivered {_written(envelope)}")

    def fields(self) -> tuple[bytes, bytes]:
        return DATE, MESSAGE_ID

    def mending(self) -> bool:
        return self._mends

    # -- what befalls -------------------------------------------------------------------------------------------------

    def provider_is_ready(self, extensions: Extensions) -> None:
        assert self.is_dialling
        self.is_dialling = False
        self.is_connected = True
        self._reader = ReplyReader(max_line=4096, max_lines=128)
        self.session.provider_ready(extensions)

    def provider_fails(self, octets: bytes) -> None:
        assert self.is_dialling
        self.is_dialling = False
        self.session.provider_failed(octets)

    def provider_says(self, octets: bytes) -> None:
        """Octets of the provider. Once its connection was dropped nobody hears them."""
        if self._reader is None:
            return
        violation = False
        try:
            replies = self._reader.feed(octets)
        except ProviderViolation as error:
            replies, violation = error.replies, True
        for each in replies:
            if self._reader is not None:
                self.session.provider_replied(each)
        if violation and self._reader is not None:
            self.session.provider_lost()

    def provider_is_lost(self) -> None:
        if self.is_connected:
            self.is_connected = False
            self._reader = None
            self.session.provider_lost()

    def client_is_lost(self) -> None:
        self.client_is_closed = self.client_is_gone = True
        self.session.client_lost()


def _written(envelope: Envelope) -> str:
    """`from-path: to-path code, ...`"""
    paths = [f"{each.path.decode('utf-8', 'replace')} {each.reply.code}" for each in envelope.recipients]
    verdicts = ", ".join(paths + [f"{each.decode()} log" for each in envelope.captures])
    path = "no sender" if envelope.reverse_path is None else f"<{envelope.reverse_path.decode('utf-8', 'replace')}>"
    return f"{path}: {verdicts}"
