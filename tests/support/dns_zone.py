"""A DNS server of the test's own on loopback, answering TXT questions from a dictionary."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

__all__ = ["DnsZone"]

LONGEST_STRING = 255  # RFC 1035 §3.3


class DnsZone:
    """A context manager; `server` is "address:port". A missing name does not exist, `None` is never answered."""

    def __init__(self, texts: Mapping[str, str | None]) -> None:
        self.texts = {name.rstrip(".").lower(): text for name, text in texts.items()}
        self.questions: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> DnsZone:
        self._socket.bind(("127.0.0.1", 0))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    @property
    def server(self) -> str:
        """Where it listens."""
        return "{}:{}".format(*self._socket.getsockname())

    def _serve(self) -> None:
        while True:
            octets, address = self._socket.recvfrom(65535)
            if not octets:
                return
            if (reply := self.answer(octets)) is not None:
                self._socket.sendto(reply, address)

    def answer(self, octets: bytes) -> bytes | None:
        """The reply to one question."""
        question = dns.message.from_wire(octets)
        name = question.question[0].name.to_text().rstrip(".").lower()
        self.questions.append(name)
        reply = dns.message.make_response(question)
        reply.flags |= dns.flags.RA | dns.flags.AA
        if name not in self.texts:
            reply.set_rcode(dns.rcode.NXDOMAIN)
            return reply.to_wire()
        text = self.texts[name]
        if text is None:
            return None
        parts = [text[start : start + LONGEST_STRING] for start in range(0, len(text), LONGEST_STRING)]
        value = " ".join(f'"{part}"' for part in parts)
        reply.answer.append(dns.rrset.from_text(question.question[0].name, 300, "IN", "TXT", value))
        return reply.to_wire()
