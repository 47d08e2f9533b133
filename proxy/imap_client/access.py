"""Logging in as a client: LOGIN, or SASL with a password or a token (RFC 9051 §6.2).

With a token the server may refuse by a challenge that holds the reason, and waits for an answer before it says NO
(RFC 7628 §3.2.3; XOAUTH2 does the same). Secrets are shown to nobody but the server.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from proxy.imap.framing import BadFrame
from proxy.imap.wire import Credentials
from proxy.imap_client.dialogue import Answer, Command
from proxy.sasl import LoginReader, Secret

__all__ = ["Access", "Login", "Mechanism", "access_of", "is_passing", "may_log_in"]

# RFC 5530 §3: the login may be right all the same. LIMIT and INUSE are what servers say to too many connections.
PASSING = frozenset(("UNAVAILABLE", "LIMIT", "INUSE", "SERVERBUG", "OVERQUOTA"))


class Mechanism(StrEnum):
    """How to log in. `PASSWORD` is PLAIN where the server offers it, else LOGIN the command."""

    PASSWORD = "password"  # noqa: S105 - a mechanism's name
    LOGIN = "login"
    PLAIN = "plain"
    XOAUTH2 = "xoauth2"
    OAUTHBEARER = "oauthbearer"


@dataclass(frozen=True, slots=True)
class Access:
    """What it takes to log in: `secret` is a password or an access token."""

    login: str
    secret: Secret
    mechanism: Mechanism = Mechanism.PASSWORD


def access_of(credentials: Credentials) -> Access | None:
    """The same as a client of a passing session has said it; `None` when that cannot be used again."""
    said = [each.reveal() for each in credentials.said]
    if credentials.mechanism is None:
        return Access(said[0].decode("utf-8", "replace"), Secret(said[1]), Mechanism.LOGIN) if len(said) == 2 else None
    read = READ.get(credentials.mechanism)
    if read is None:
        return None
    reader = LoginReader(credentials.mechanism)
    for each in said:
        reader.feed(each)
    try:
        secret = read([base64.b64decode(each) for each in said])
    except (ValueError, IndexError):
        return None
    if reader.login is None or secret is None:
        return None
    return Access(reader.login, Secret(secret), AS_SAID[credentials.mechanism])


def may_log_in(access: Access, capabilities: frozenset[bytes]) -> bool:
    """Whether a server with these takes such a login. LOGIN the command needs no word of it, only no LOGINDISABLED."""
    how = _chosen(access.mechanism, capabilities)
    if how is Mechanism.LOGIN:
        return b"LOGINDISABLED" not in capabilities
    return b"AUTH=" + how.name.encode() in capabilities


def is_passing(answer: Answer) -> bool:
    """Whether a login that was refused may be taken later as it is."""
    return answer.code in PASSING


class Login(Command):
    """One login. RFC 4959 lets the first message stand in the command where the server says SASL-IR."""

    def __init__(self, access: Access, capabilities: frozenset[bytes]) -> None:
        self._mechanism = _chosen(access.mechanism, capabilities)
        self._pieces = _pieces(access, self._mechanism, is_short=b"SASL-IR" in capabilities)
        self.listed: bytes | None = None

    def octets(self) -> bytes:
        return self._pieces.pop(0).reveal()

    def challenge(self, line: bytes) -> bytes:
        if not self._pieces:
            raise BadFrame("the server does not end the login")
        return self._pieces.pop(0).reveal()

    def untagged(self, parts: list[bytes]) -> None:
        if parts[0][:12].upper() == b"* CAPABILITY":
            self.listed = parts[0]


def _chosen(mechanism: Mechanism, capabilities: frozenset[bytes]) -> Mechanism:
    if mechanism is not Mechanism.PASSWORD:
        return mechanism
    return Mechanism.PLAIN if b"AUTH=PLAIN" in capabilities else Mechanism.LOGIN


def _pieces(access: Access, mechanism: Mechanism, *, is_short: bool) -> list[Secret]:
    """What is said, each piece but the first when the server asks for it."""
    login = access.login.encode()
    if mechanism is Mechanism.LOGIN:
        return _login_pieces(login, access.secret.reveal())
    command = b"AUTHENTICATE " + mechanism.name.encode()
    message = base64.b64encode(MESSAGES[mechanism](login, access.secret.reveal()))
    said = [command + b" " + message + b"\r\n"] if is_short else [command + b"\r\n", message + b"\r\n"]
    return [Secret(each) for each in (*said, GIVE_IN[mechanism])]


def _login_pieces(login: bytes, password: bytes) -> list[Secret]:
    """LOGIN with strings, those in literals that hold what no quoted string may."""
    pieces = [b"LOGIN"]
    for each in (login, password):
        if each.isascii() and not any(octet in b"\r\n\0" for octet in each):
            pieces[-1] += b' "' + each.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
        else:
            pieces[-1] += b" {%d}\r\n" % len(each)
            pieces.append(each)
    pieces[-1] += b"\r\n"
    return [Secret(each) for each in pieces]


def _plain(login: bytes, password: bytes) -> bytes:
    """RFC 4616 §2. No authzid: iCloud refuses one, even if it is the login."""
    return b"\0" + login + b"\0" + password


def _xoauth2(login: bytes, token: bytes) -> bytes:
    return b"user=" + login + b"\x01auth=Bearer " + token + b"\x01\x01"


def _oauthbearer(login: bytes, token: bytes) -> bytes:
    """RFC 7628 §3.1."""
    name = login.replace(b"=", b"=3D").replace(b",", b"=2C")
    return b"n,a=" + name + b",\x01auth=Bearer " + token + b"\x01\x01"


def _token(said: list[bytes]) -> bytes | None:
    """The token in a message of XOAUTH2 or OAUTHBEARER."""
    for each in said[0].split(b"\x01"):
        name, _, value = each.partition(b"=")
        if name.lower() == b"auth" and value[:7].lower() == b"bearer ":
            return value[7:]
    return None


MESSAGES: dict[Mechanism, Callable[[bytes, bytes], bytes]] = {
    Mechanism.PLAIN: _plain,
    Mechanism.XOAUTH2: _xoauth2,
    Mechanism.OAUTHBEARER: _oauthbearer,
}
# The answer to a challenge that tells why a token was refused; PLAIN has none and is cancelled.
GIVE_IN = {
    Mechanism.PLAIN: b"*\r\n",
    Mechanism.XOAUTH2: b"\r\n",
    Mechanism.OAUTHBEARER: base64.b64encode(b"\x01") + b"\r\n",
}
READ: dict[bytes, Callable[[list[bytes]], bytes | None]] = {
    b"PLAIN": lambda said: said[0].split(b"\0")[2],
    b"LOGIN": lambda said: said[1],
    b"XOAUTH2": _token,
    b"OAUTHBEARER": _token,
}
# AUTHENTICATE LOGIN has the same two words as the command, which every server has that has it.
AS_SAID = {
    b"PLAIN": Mechanism.PLAIN,
    b"LOGIN": Mechanism.LOGIN,
    b"XOAUTH2": Mechanism.XOAUTH2,
    b"OAUTHBEARER": Mechanism.OAUTHBEARER,
}
