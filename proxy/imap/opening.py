"""The first words with a provider: its greeting, TLS where that begins with STARTTLS, and its capabilities.

Pure, fed by events: `receive` and `secured` return what is to be done next, or raise `DialError`. What came in clear
before TLS counts for nothing (RFC 9051 §6.2.1), whoever sent it.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.failures import DialError, Failure
from proxy.imap.capability import capability_list
from proxy.imap.framing import BadFrame
from proxy.imap.response import Response, parse_response, response_reader

__all__ = ["Opened", "Opening", "Send", "StartTls"]

MAX_RESPONSES = 128  # to one command of ours
TAG = b"onrecord"  # of our commands; all of them have ended before the client's first goes out


@dataclass(frozen=True, slots=True)
class Send:
    """Octets for the provider."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """The provider waits for the handshake; `secured` comes next."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The provider is ready for a login.

    `listed` are its capabilities as written. `greeting` is the line it came with, unless that was in clear before TLS.
    `rest` are octets behind all this.
    """

    listed: bytes
    greeting: bytes | None
    rest: bytes = b""


class Opening:
    """One provider connection until it is ready."""

    def __init__(self, *, starttls: bool) -> None:
        self._starttls = starttls
        self._reader = response_reader()
        self._greeting: bytes | None = None
        self._listed: bytes | None = None
        self._expects_greeting = True
        self._is_securing = False
        self._responses = 0

    def receive(self, octets: bytes) -> Send | StartTls | Opened | None:
        """Octets of the provider. `None`: more of them are needed. Raises `DialError`."""
        if self._is_securing:
            raise DialError(Failure.TLS_BROKEN, "octets came in clear behind the response to STARTTLS")
        self._reader.feed(octets)
        try:
            while (parts := self._reader.take()) is not None:
                if (step := self._take(parse_response(parts))) is not None:
                    return step
        except BadFrame as error:
            raise DialError(Failure.PROTOCOL, str(error)) from error
        return None

    def secured(self) -> Send:
        """TLS is up."""
        self._is_securing = self._starttls = False
        self._greeting = None
        self._listed = None
        return self._ask(b"CAPABILITY")

    def _ask(self, command: bytes) -> Send:
        self._responses = 0
        return Send(TAG + b" " + command + b"\r\n")

    def _take(self, response: Response) -> Send | StartTls | Opened | None:
        self._responses += 1
        if self._responses > MAX_RESPONSES:
            raise DialError(Failure.PROTOCOL, "there is no end of responses")
        if response.status == b"BYE":
            raise DialError(Failure.REFUSED, "the provider said BYE")
        if self._expects_greeting:
            return self._greeted(response)
        if response.tag == b"*":
            self._listed = capability_list(response.octets) or self._listed
            return None
        if response.tag != TAG:
            raise DialError(Failure.PROTOCOL, "a response came that was not asked for")
        return self._answered(response)

    def _greeted(self, response: Response) -> Send | Opened:
        if response.status != b"OK" or response.tag != b"*":
            # PREAUTH: whoever connects to us would be logged in, and before TLS it is how TLS is averted.
            raise DialError(Failure.PROTOCOL, f"the greeting was {response.status.decode() or 'none'}")
        self._expects_greeting = False
        self._greeting = response.octets
        if self._starttls:
            return self._ask(b"STARTTLS")
        self._listed = capability_list(response.octets)
        return self._ask(b"CAPABILITY") if self._listed is None else self._opened(self._listed)

    def _answered(self, response: Response) -> StartTls | Opened:
        if self._starttls:
            if response.status != b"OK":
                raise DialError(Failure.NO_STARTTLS, f"STARTTLS was answered {response.status.decode()}")
            if not self._reader.is_empty:
                raise DialError(Failure.TLS_BROKEN, "octets came in clear behind the response to STARTTLS")
            self._is_securing = True
            return StartTls()
        if self._listed is None or response.status != b"OK":
            raise DialError(Failure.PROTOCOL, "the provider does not tell its capabilities")
        return self._opened(self._listed)

    def _opened(self, listed: bytes) -> Opened:
        return Opened(listed, self._greeting, self._reader.take_rest())
