"""Logging in ourselves, with credentials that we hold (RFC 9051 §6.2.2, §6.2.3, RFC 7628).

Pure, fed by events: `start` and `receive` return what is to be done next. What the server says about a failed login is
told on, unless it repeats the secret.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.secret import Secret
from proxy.failures import DialError, Failure
from proxy.imap.capability import capabilities_of
from proxy.imap.framing import BadFrame
from proxy.imap.opening import Send
from proxy.imap.response import Response, parse_response, response_reader
from proxy.imap.wire import Credentials

__all__ = ["LoggedIn", "LoginRefused", "MailboxCredentials", "OwnLogin", "choose_mechanism", "is_offered", "spoken"]

TAG = b"onrecord"
MAX_RESPONSES = 128  # to one command of ours
MAX_TEXT = 200  # characters of the server's text
SHORT = 4  # octets of a secret that may stand in a text by chance
# RFC 5530 §3: what passes by itself.
PASSING = frozenset((b"UNAVAILABLE", b"INUSE", b"LIMIT", b"SERVERBUG"))
# quirk_uncoded_trouble: Microsoft says "Server Unavailable", others "try again", without a response code.
PASSING_TEXT = re.compile(r"unavailable|temporar|try again|too many", re.IGNORECASE)
# RFC 9051 §7: resp-text = ["[" resp-text-code "]" SP] [text]
RESPONSE_TEXT = re.compile(rb"[^ ]+ [A-Za-z]+ ?(?:\[([^ \]]*)[^\]]*\] ?)?([^\r\n]*)")
QUOTABLE = re.compile(rb"[\x20-\x7e]*")
NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
TO_ESCAPE = re.compile(rb'(["\\])')
# What answers a challenge that tells of a failure, so that the server ends the exchange (RFC 7628 §3.2.3).
AFTER_FAILURE = {b"XOAUTH2": b"", b"OAUTHBEARER": b"AQ=="}
TOKEN_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")  # the first is what the large providers document for IMAP


class LoginRefused(Exception):
    """The server refused the login. The text is the server's; `is_passing`: the same login may work later."""

    def __init__(self, text: str, *, is_passing: bool) -> None:
        super().__init__(text)
        self.is_passing = is_passing


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxCredentials:
    """What opens a mailbox: the secret is a password, or with XOAUTH2 and OAUTHBEARER an access token.

    `mechanism` LOGIN stands for the command of that name too. `mailbox` and `version` say which connected mailbox it
    is and which of its secrets.
    """

    login: str
    mechanism: str
    secret: Secret
    mailbox: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server is ready. `capabilities` are there when it told them; `rest` are octets behind its answer."""

    capabilities: frozenset[bytes] | None
    rest: bytes


def choose_mechanism(capabilities: Iterable[bytes], *, with_token: bool) -> str | None:
    """The mechanism for a token or a password at a server with these; `None` when it takes neither."""
    offered = frozenset(capabilities)
    if with_token:
        return next((each for each in TOKEN_MECHANISMS if b"AUTH=" + each.encode() in offered), None)
    if b"AUTH=PLAIN" in offered:
        return "PLAIN"
    return "LOGIN" if b"LOGINDISABLED" not in offered or b"AUTH=LOGIN" in offered else None


def spoken(
    credentials: MailboxCredentials, *, host: str, port: int, capabilities: frozenset[bytes] = frozenset()
) -> Credentials:
    """What we say to log in, as a client would say it. `host` and `port` are the server's. Raises `ValueError`."""
    login, secret = credentials.login.encode(), credentials.secret.reveal()
    if b"\0" in login + secret or b"\1" in login + secret:
        raise ValueError("neither login nor secret may hold the control characters NUL and SOH")
    match credentials.mechanism:
        case "PLAIN":  # RFC 4616 §2
            return Credentials(b"PLAIN", (_encoded(b"\0" + login + b"\0" + secret),))
        case "XOAUTH2":
            return Credentials(b"XOAUTH2", (_encoded(b"user=" + login + b"\1auth=Bearer " + secret + b"\1\1"),))
        case "OAUTHBEARER":  # RFC 7628 §3.1, the name as in RFC 5801 §4
            name = login.replace(b"=", b"=3D").replace(b",", b"=2C")
            place = b"\1host=" + host.encode() + b"\1port=" + str(port).encode()
            message = b"n,a=" + name + b"," + place + b"\1auth=Bearer " + secret + b"\1\1"
            return Credentials(b"OAUTHBEARER", (_encoded(message),))
        case "LOGIN" if b"LOGINDISABLED" in capabilities:
            return Credentials(b"LOGIN", (_encoded(login), _encoded(secret)))
        case "LOGIN":
            return Credentials(None, (Secret(login), Secret(secret)))
    raise ValueError(f"the mechanism {credentials.mechanism!r} is not known")


def is_offered(credentials: Credentials, capabilities: frozenset[bytes]) -> bool:
    """Whether a server with these takes such a login. LOGIN the command needs no word of it."""
    if credentials.mechanism is None:
        return b"LOGINDISABLED" not in capabilities
    return b"AUTH=" + credentials.mechanism in capabilities


class OwnLogin:
    """One login at a server that is ready for one."""

    def __init__(self, credentials: Credentials, capabilities: frozenset[bytes]) -> None:
        self._credentials = credentials
        self._to_say = _lines(credentials, at_once=b"SASL-IR" in capabilities)
        self._reader = response_reader()
        self._capabilities: frozenset[bytes] | None = None
        self._responses = 0

    def start(self) -> Send:
        """The command."""
        return Send(self._to_say.pop(0))

    def receive(self, octets: bytes) -> Send | LoggedIn | None:
        """Octets of the server. `None`: more of them are needed. Raises `LoginRefused` or `DialError`."""
        self._reader.feed(octets)
        try:
            while (parts := self._reader.take()) is not None:
                if (step := self._take(parse_response(parts))) is not None:
                    return step
        except BadFrame as error:
            raise DialError(Failure.PROTOCOL, str(error)) from error
        return None

    def _take(self, response: Response) -> Send | LoggedIn | None:
        self._responses += 1
        if self._responses > MAX_RESPONSES:
            raise DialError(Failure.PROTOCOL, "there is no end of responses")
        if response.status == b"BYE":
            raise DialError(Failure.REFUSED, f"the server said BYE: {self._text(response)[1]}")
        if response.tag == b"+":
            return Send(self._answer())
        self._capabilities = capabilities_of(response.octets) or self._capabilities
        if response.tag == b"*":
            return None
        if response.tag != TAG:
            raise DialError(Failure.PROTOCOL, "a response came that was not asked for")
        if response.status == b"OK":
            return LoggedIn(self._capabilities, self._reader.take_rest())
        code, text = self._text(response)
        is_passing = code in PASSING or (not code and PASSING_TEXT.search(text) is not None)
        raise LoginRefused(text, is_passing=is_passing)

    def _answer(self) -> bytes:
        if self._to_say:
            return self._to_say.pop(0)
        return AFTER_FAILURE.get(self._credentials.mechanism or b"", b"*") + b"\r\n"

    def _text(self, response: Response) -> tuple[bytes, str]:
        """Response code and text, for people."""
        match = RESPONSE_TEXT.match(response.octets)
        assert match is not None
        code = (match[1] or b"").upper()
        text = match[2].decode("utf-8", "replace")
        if any(each in response.octets for each in _hidden(self._credentials)):
            text = "(the server's words are left out: they repeat the secret)"
        shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:MAX_TEXT])
        name = f"[{code.decode('ascii', 'replace')[:40]}] " if code and code.isalnum() else ""
        return code, f"{name}{shown}".strip() or response.status.decode()


def _encoded(octets: bytes) -> Secret:
    return Secret(base64.b64encode(octets))


def _lines(credentials: Credentials, *, at_once: bool) -> list[bytes]:
    """What we say, a piece at a time; the server asks for each but the first."""
    said = [each.reveal() for each in credentials.said]
    if credentials.mechanism is None:
        return _login_command(*said)
    command = TAG + b" AUTHENTICATE " + credentials.mechanism
    if at_once and credentials.mechanism != b"LOGIN":  # the server speaks first there
        command += b" " + said.pop(0)
    return [each + b"\r\n" for each in (command, *said)]


def _login_command(name: bytes, password: bytes) -> list[bytes]:
    """LOGIN with quoted strings where they may stand, else with literals, which the server asks for."""
    pieces = [TAG + b" LOGIN"]
    for argument in (name, password):
        if QUOTABLE.fullmatch(argument):
            pieces[-1] += b' "' + TO_ESCAPE.sub(rb"\\\1", argument) + b'"'
        else:
            pieces[-1] += b" {%d}\r\n" % len(argument)
            pieces.append(argument)
    pieces[-1] += b"\r\n"
    return pieces


def _hidden(credentials: Credentials) -> list[bytes]:
    """What no text may repeat: the messages, and the password or token in them."""
    said = [each.reveal() for each in credentials.said]
    if credentials.mechanism is None:
        found = said[1:]
    else:
        inside = re.split(rb"[\0\1]|auth=Bearer ", _decoded(said[-1]))
        found = [said[-1], *[each for each in inside if each][-1:]]
    return [each for each in found if len(each) >= SHORT]


def _decoded(message: bytes) -> bytes:
    """What a client said; where a server took what is no base64 (RFC 4648 §4), as much of it as is."""
    digits = NO_BASE64.sub(b"", message)
    return base64.b64decode(digits[: len(digits) - (len(digits) % 4 == 1)] + b"==")
