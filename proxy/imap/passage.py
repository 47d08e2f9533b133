"""A session whose client is logged in: two pumps, which pass on what they get, and let a tap listen.

What is altered: capabilities that cannot be had through us are taken out of the provider's lists, and COMPRESS loses
its argument, so that the provider refuses it: nobody could follow a compressed session (RFC 4978 §3).

Where commands begin depends on what the provider takes for a literal. On doubt nothing is looked at or altered any
more, on either side, and the session is counted as unobservable: a wrong guess would alter mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from proxy.imap.capability import capabilities_of, may_be_capability, takes_at_once, withhold
from proxy.imap.framing import BadFrame, Literal, Scanner, literal_of
from proxy.imap.response import CONTINUATION, STATUS, literal_in_response
from proxy.imap.tap import GONE, Tap
from proxy.imap.watch import Unobservable, Watcher, Why

__all__ = ["Passage"]

COMMAND = re.compile(rb"(?i)([^ \r\n]{1,128}) ([A-Z]+)(?= |\r)")
COMPRESS = re.compile(rb"(?i)[^ \r\n]{1,128} COMPRESS(?= |\r)")
# RFC 9051 §9: a literal is an argument of its own; one that seems to begin inside another is in doubt.
BEFORE_LITERAL = re.compile(rb"[ (]~?\{[0-9]+\+?\}\r\n")
STRING = re.compile(rb'(?s)"(?:[^"\\]|\\.)*("|\Z)')


class Passage:
    """Both directions of one session. `capabilities` are the provider's, as told at the login."""

    def __init__(
        self,
        to_client: Callable[[bytes], None],
        to_provider: Callable[[bytes], None],
        watcher: Watcher | None,
        *,
        capabilities: frozenset[bytes],
        header_limit: int,
    ) -> None:
        self._to_client = to_client
        self._to_provider = to_provider
        self._watcher = watcher
        self._tap = Tap(watcher, header_limit) if watcher is not None else None
        self._capabilities = capabilities
        self._client = Scanner(self._read_command, _may_be_compress)
        self._provider = Scanner(self._read_response, self._may_be_capability)
        self._is_blind = False
        self._in_command = False
        self._in_response = False
        self._tag: bytes | None = None
        self._awaited: tuple[int, bool] | None = None
        self._idle: bytes | None = None
        self._others_awaited = 0

    # -- events -------------------------------------------------------------------------------------------------------

    def client_octets(self, octets: bytes) -> None:
        """Octets of the client."""
        gone = self._client.feed(octets)
        if gone:
            self._to_provider(gone)

    def provider_octets(self, octets: bytes) -> None:
        """Octets of the provider."""
        gone = self._provider.feed(octets)
        if gone:
            self._to_client(gone)

    def client_lost(self) -> None:
        """The client is gone; what it left unfinished still goes on."""
        self._end()
        if octets := self._client.release():
            self._to_provider(octets)

    def provider_lost(self) -> None:
        """The provider is gone; what it left unfinished still goes on."""
        self._end()
        if octets := self._provider.release():
            self._to_client(octets)

    def close(self) -> None:
        """Both sides are gone. Lets go of everything, so that no cycle of references keeps the session in memory."""
        self._end()
        self._client.close()
        self._provider.close()

    @property
    def is_between_responses(self) -> bool:
        """Whether something of ours, like BYE, would stand by itself."""
        return not self._is_blind and not self._in_response and self._provider.is_between

    def _end(self) -> None:
        tap, self._tap = self._tap, None
        if tap is not None:
            try:
                tap.close()
            except Exception:  # as in _ask
                self._tell(Why.WATCHER_FAILED)

    def _doubt(self, why: Why) -> None:
        self._end()
        self._is_blind = True
        self._client.stop()
        self._provider.stop()
        self._tell(why)

    def _tell(self, why: Why) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return
        try:
            watcher.tell(Unobservable(why))
        except Exception:  # as in _ask
            return

    def _ask(self, question: Callable[..., bool | None], *arguments: object, **options: object) -> bool:
        """Tells the tap something. Understanding mail may fail, passing it may not."""
        if self._tap is None:
            return False
        try:
            return bool(question(*arguments, **options))
        except Exception:
            self._end()
            self._tell(Why.WATCHER_FAILED)
            return False

    # -- the client ---------------------------------------------------------------------------------------------------

    def _read_command(self, text: bytes, is_cut: bool) -> bytes | None:
        try:
            literal = literal_of(text)
        except BadFrame:
            self._doubt(Why.LITERAL_IN_DOUBT)
            return None
        replaced = None
        if not self._in_command:
            replaced = self._begin_command(text)
        if self._is_blind:
            return None
        if self._awaited is not None or b"\n" in text[:-1] or (literal and self._is_doubtful(text, literal, is_cut)):
            self._doubt(Why.LITERAL_IN_DOUBT)
            return None
        tap = self._tap
        wants = False
        if tap is not None:
            wants = self._ask(tap.command_goes_on if self._in_command else tap.command, text, literal)
        self._in_command = literal is not None
        if literal is None:
            self._tag = None
        elif literal.is_synchronising:
            self._awaited = (literal.size, wants)
        else:
            self._client.expect(literal.size, self._take_command_literal if wants else None)
        return replaced

    def _begin_command(self, text: bytes) -> bytes | None:
        match = COMMAND.match(text)
        self._tag = match[1] if match is not None else None
        verb = match[2].upper() if match is not None else b""
        if match is None:
            return None
        if verb == b"IDLE":
            self._idle = match[1]
            self._others_awaited += 1
        elif verb == b"UNAUTHENTICATE":  # RFC 8437: it may be somebody else's session from here on
            self._doubt(Why.LOGGED_OUT)
        elif verb == b"COMPRESS":
            return match[0] + b"\r\n"
        return None

    def _is_doubtful(self, text: bytes, literal: Literal, is_cut: bool) -> bool:
        """Whether the provider may take what announces a literal for something else."""
        if not literal.is_synchronising and not takes_at_once(self._capabilities, literal.size):
            return True
        if is_cut:
            return False
        if not BEFORE_LITERAL.fullmatch(text, text.rindex(b"{") - (2 if text[text.rindex(b"{") - 1] == 126 else 1)):
            return True
        return any(not match[1] for match in STRING.finditer(text))

    def _take_command_literal(self, octets: bytes) -> bool:
        return self._tap is not None and self._ask(self._tap.command_literal, octets)

    def _go_ahead(self) -> None:
        """The provider asks for something: what an IDLE asked for, or the literal that the client announced."""
        if self._others_awaited:
            self._others_awaited -= 1
        elif self._awaited is not None:
            (size, wants), self._awaited = self._awaited, None
            if not self._client.is_between:
                self._doubt(Why.LITERAL_IN_DOUBT)
            else:
                self._client.expect(size, self._take_command_literal if wants else None)

    def _refused(self) -> None:
        """The command that announced a literal is over: the client's next octets are another command."""
        self._awaited = None
        self._in_command = False
        if not self._client.is_between:
            self._doubt(Why.LITERAL_IN_DOUBT)

    # -- the provider -------------------------------------------------------------------------------------------------

    def _read_response(self, text: bytes, is_cut: bool) -> bytes | None:
        is_first = not self._in_response
        try:
            literal = literal_of(text) if is_cut else literal_in_response(text, is_first)
        except BadFrame:
            self._doubt(Why.LITERAL_IN_DOUBT)
            return None
        self._in_response = literal is not None
        if is_first and not is_cut and text[:1] != b"*":
            return self._read_other(text)
        wants = False
        # Most of what a client asks for is data about messages, in one text: nothing to learn from, unless one is gone.
        if self._tap is not None and (
            literal is not None or not is_first or not text[2:3].isdigit() or GONE.match(text) is not None
        ):
            wants = self._ask(self._tap.response if is_first else self._tap.response_goes_on, text, literal)
        if literal is not None:
            self._provider.expect(literal.size, self._take_response_literal if wants else None)
        return self._edited(text) if is_first and text[2:3].isalpha() else None

    def _read_other(self, text: bytes) -> bytes | None:
        """A tagged response, or a continuation request."""
        if CONTINUATION.match(text):
            self._go_ahead()
        elif (match := STATUS.match(text)) is not None:
            if match[1] == self._idle:
                self._idle, self._others_awaited = None, 0
            if match[1] == self._tag and self._awaited is not None:
                self._refused()
            if self._tap is not None:
                self._ask(self._tap.completed, match[1], text, is_ok=match[2].upper() == b"OK")
            return self._edited(text)
        return None

    def _take_response_literal(self, octets: bytes) -> bool:
        return self._tap is not None and self._ask(self._tap.response_literal, octets)

    def _edited(self, text: bytes) -> bytes | None:
        told = capabilities_of(text)
        if told is None:
            return None
        self._capabilities = told
        return withhold(text)

    def _may_be_capability(self, start: bytes) -> bool:
        return not self._in_response and may_be_capability(start)


def _may_be_compress(start: bytes) -> bool:
    """Whether a text that begins so may be COMPRESS. One inside a command does not matter: it is never replaced."""
    tag, space, rest = start.partition(b" ")
    if len(tag) > 128 or (not space and len(start) > 128):
        return False
    beginning = rest[:9].upper()
    return b"COMPRESS ".startswith(beginning) or beginning.startswith((b"COMPRESS ", b"COMPRESS\r"))
