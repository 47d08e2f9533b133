"""What speaks on a port: a look at a server's first words, in clear and within TLS.

Mail servers speak first. To one that does not a question is put that HTTP servers answer. Nothing is verified and
nothing else is said.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["OTHER", "Patience", "Seen", "Silence", "look"]

ENOUGH = 512  # octets; RFC 5321 §4.5.3.1.5 gives a reply line no more
HTTP_QUESTION = b"HEAD / HTTP/1.0\r\n\r\n"  # every HTTP server answers it, and it changes nothing
OTHER = "something else"
GREETINGS = (
    (re.compile(rb"[2-5][0-9][0-9][ -]"), "SMTP"),
    (re.compile(rb"\* (?:OK|PREAUTH|BYE)\b"), "IMAP"),
    (re.compile(rb"(?:\+OK|-ERR)\b"), "POP3"),
    (re.compile(rb"HTTP/[0-9]"), "HTTP"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds. People wait for it in front of a page; a server that is well greets at once."""

    connect: float = 5.0  # with the handshake where that comes first
    greeting: float = 5.0
    answer: float = 10.0  # to one command; our own server may have to connect to its provider


@dataclass(frozen=True, slots=True)
class Seen:
    """What speaks there, as people write it, in clear or within TLS."""

    protocol: str
    within_tls: bool


class Silence(Enum):
    """Why there are no first words."""

    NAME_UNKNOWN = auto()
    NOTHING_LISTENS = auto()
    UNREACHABLE = auto()
    HANGS_UP = auto()
    SAYS_NOTHING = auto()


NOBODY_THERE = frozenset((Silence.NAME_UNKNOWN, Silence.NOTHING_LISTENS, Silence.UNREACHABLE))


async def look(host: str, port: int, *, tls_first: bool, patience: Patience) -> Seen | Silence:
    """What is there. `tls_first` only saves time where it is likely."""
    if tls_first and (seen := await _within_tls(host, port, patience)):
        return seen
    found = await _in_clear(host, port, patience)
    if tls_first or isinstance(found, Seen) or found in NOBODY_THERE:
        return found
    return await _within_tls(host, port, patience) or found


async def _in_clear(host: str, port: int, patience: Patience) -> Seen | Silence:
    connected = await _connect(host, port, None, patience)
    if isinstance(connected, Silence):
        return connected
    words = await _first_words(*connected, patience)
    if words is None:
        return Silence.SAYS_NOTHING
    return Seen(_protocol(words), within_tls=False) if words else Silence.HANGS_UP


async def _within_tls(host: str, port: int, patience: Patience) -> Seen | None:
    """`None`: no TLS, or no words within it. Whether anybody is there is seen in clear."""
    connected = await _connect(host, port, _any_server(), patience)
    if isinstance(connected, Silence):
        return None
    words = await _first_words(*connected, patience)
    return Seen(_protocol(words), within_tls=True) if words else None


async def _connect(
    host: str, port: int, context: ssl.SSLContext | None, patience: Patience
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | Silence:
    """The first address of the name that takes us; otherwise why none did."""
    try:
        async with asyncio.timeout(patience.connect):
            infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            are_all_refused = True
            for address in (str(info[4][0]) for info in infos):
                try:
                    return await asyncio.open_connection(
                        address, port, ssl=context, server_hostname=host if context else None, limit=ENOUGH
                    )
                except OSError as error:  # TLS that fails, too
                    are_all_refused &= isinstance(error, ConnectionRefusedError)
    except (socket.gaierror, UnicodeError):  # or a label that is empty or too long
        return Silence.NAME_UNKNOWN
    except TimeoutError:
        return Silence.UNREACHABLE
    return Silence.NOTHING_LISTENS if are_all_refused else Silence.UNREACHABLE


async def _first_words(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: Patience) -> bytes | None:
    """Up to a line of what the server says, by itself or asked; nothing when it hangs up by itself.

    `None`: it waits for something else than a question. A TLS server hangs up then, or says what is no words.
    """
    try:
        words = await _line(reader, patience.greeting)
        if words is None:
            writer.write(HTTP_QUESTION)
            words = await _line(reader, patience.answer)
            return words if words and _protocol(words) != OTHER else None
        return words
    except OSError:
        return b""
    finally:
        writer.transport.abort()


async def _line(reader: asyncio.StreamReader, seconds: float) -> bytes | None:
    line = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while b"\n" not in line and len(line) < ENOUGH:
                octets = await reader.read(ENOUGH)
                if not octets:
                    return line
                line += octets
    return line or None


def _protocol(words: bytes) -> str:
    return next((name for greeting, name in GREETINGS if greeting.match(words)), OTHER)


def _any_server() -> ssl.SSLContext:
    """For a look only. What is seen is told, never trusted."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
