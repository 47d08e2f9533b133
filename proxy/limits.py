"""Limits and deadlines of the mail path, each with its source."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["CapturePolicy", "Deadlines", "Limits"]

MIB = 1024 * 1024


class CapturePolicy(StrEnum):
    """What a failing capture does to mail: `OPEN` lets it pass and leaves a gap, `CLOSED` answers 451."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes are octets. Connections are counted over all relay processes of this node."""

    connections: int = 2000
    connections_per_address: int = 100
    recipients: int = 1000  # RFC 5321 §4.5.3.1.8 asks for at least 100
    command_line: int = 4096  # RFC 5321 §4.5.3.1.4 asks for 512, extensions add; Postfix takes 2048
    auth_line: int = 12288  # RFC 4954 §4
    reply_line: int = 4096  # RFC 5321 §4.5.3.1.5 asks for 512
    reply_lines: int = 128
    bad_commands: int = 10
    failed_logins: int = 3
    message: int = 150 * MIB
    header_section: int = 1 * MIB
    capture_memory: int = 128 * 1024  # of one message, before it goes to a file, which costs two more fsyncs


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds. Any octet of the awaited side starts the wait anew (RFC 5321 §4.5.3.2)."""

    client_command: float = 300.0  # RFC 5321 §4.5.3.2.7
    client_data: float = 300.0
    tls_handshake: float = 30.0
    provider_connect: float = 30.0
    provider_greeting: float = 300.0  # RFC 5321 §4.5.3.2.1
    provider_command: float = 300.0  # RFC 5321 §4.5.3.2.2, §4.5.3.2.3
    provider_data_initiation: float = 120.0  # RFC 5321 §4.5.3.2.4
    provider_data_block: float = 180.0  # RFC 5321 §4.5.3.2.5
    provider_data_termination: float = 600.0  # RFC 5321 §4.5.3.2.6
    mailbox_idle: float = 2400.0  # RFC 9051 §5.4: no less than 30 minutes; a client in IDLE speaks every 29
    failed_login_delay: float = 3.0
    capture: float = 10.0  # how long a 250 may wait for the spool before the capture counts as failed
    drain: float = 30.0  # what SIGTERM leaves to open transactions
