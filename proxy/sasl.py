"""Who is logging in: the identity inside a SASL exchange, read as it passes (RFC 4422, RFC 4954 §4).

Exchanges are relayed step by step, whatever the mechanism. From the client's messages we take the login name and
nothing else: no password, token or digest leaves `LoginReader`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from engine.secret import Secret

__all__ = ["CHALLENGE_FIRST", "READERS", "LoginReader", "Secret", "first_prompt"]

# RFC 5802 §7: client-first-message = gs2-cbind-flag "," [authzid] "," username "," nonce. Matched from its start, so
# that an extension of a later message, which may hold any letter, is never taken for the name.
SCRAM_USER = re.compile(rb"(?:[ny]|p=[^,]*),(?:a=[^,]*)?,n=([^,]*),")
BEARER_USER = re.compile(rb"[ny],a=([^,]*),")
XOAUTH2_USER = re.compile(rb"user=([^\x01]*)\x01")


# The server speaks first: a client must not send an initial response (RFC 4954 §4).
CHALLENGE_FIRST = frozenset((b"CRAM-MD5",))


def first_prompt(mechanism: bytes) -> bytes | None:
    """What a server says first where the client speaks first in substance: empty, or LOGIN's "Username:".

    `None` for mechanisms that begin with a true challenge.
    """
    if mechanism == b"LOGIN":
        return b"VXNlcm5hbWU6"
    return b"" if mechanism in READERS and mechanism not in CHALLENGE_FIRST else None


class LoginReader:
    """Reads the client's messages of one exchange; `login` is set as soon as one names it.

    A message that is no base64 (RFC 4648 §4), or that has no such identity, leaves `login` as it is: judging it is for
    the provider. A provider may ignore a message and ask again, so a later message that names somebody counts too, and
    `is_contradictory` tells when it names somebody else. LOGIN's second message is a password and is not looked at.
    """

    __slots__ = ("_is_done", "is_contradictory", "login", "mechanism")

    def __init__(self, mechanism: bytes) -> None:
        self.mechanism = mechanism
        self._is_done = mechanism not in READERS
        self.login: str | None = None
        self.is_contradictory = False

    def feed(self, message: bytes) -> None:
        """One client message as on the wire, without line end; "=" stands for an empty one (RFC 4954 §4)."""
        if self._is_done:
            return
        try:
            octets = b"" if message == b"=" else base64.b64decode(message.strip(), validate=True)
        except binascii.Error:
            return
        self._is_done = self.mechanism == b"LOGIN" and bool(octets)
        named = READERS[self.mechanism](octets)
        login = named.decode("utf-8", "replace").strip() if named else None
        if login:
            self.is_contradictory = self.login not in (None, login)
            self.login = login


def _plain(octets: bytes) -> bytes | None:
    """RFC 4616 §2: message = [authzid] UTF8NUL authcid UTF8NUL passwd.

    The authcid counts: it is what the password proves. Some providers ignore the authzid, so it proves nothing.
    """
    parts = octets.split(b"\0")
    return parts[1] if len(parts) == 3 else None


def _cram_md5(octets: bytes) -> bytes | None:
    """RFC 2195 §2: user name, space, digest."""
    return octets.rpartition(b" ")[0] or None


def _scram(octets: bytes) -> bytes | None:
    """RFC 5802 §7: gs2-header then n=saslname; "=2C" and "=3D" stand for comma and equals sign."""
    match = SCRAM_USER.search(octets)
    return match[1].replace(b"=2C", b",").replace(b"=3D", b"=") if match else None


def _bearer(octets: bytes) -> bytes | None:
    """RFC 7628 §3.1: gs2-header with a=authzid."""
    match = BEARER_USER.match(octets)
    return match[1].replace(b"=2C", b",").replace(b"=3D", b"=") if match else None


def _xoauth2(octets: bytes) -> bytes | None:
    match = XOAUTH2_USER.match(octets)
    return match[1] if match else None


def _whole(octets: bytes) -> bytes | None:
    return octets


READERS: dict[bytes, Callable[[bytes], bytes | None]] = {
    b"PLAIN": _plain,
    b"LOGIN": _whole,
    b"XOAUTH2": _xoauth2,
    b"OAUTHBEARER": _bearer,
    b"CRAM-MD5": _cram_md5,
    b"SCRAM-SHA-1": _scram,
    b"SCRAM-SHA-256": _scram,
    b"SCRAM-SHA-512": _scram,
}
