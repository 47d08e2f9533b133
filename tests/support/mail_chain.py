"""What a test asks of the chain client, onrecord, provider, sink: where to submit, what arrived, what was recorded."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import idna
import pytest
import zstandard
from debian_peers import Dovecot, Postfix
from mail_clients import Access
from pki import Pki
from recording_provider import Received, RecordingProvider
from served import Served

__all__ = ["MailChain", "Record", "addresses", "hashed", "without_received"]

PATIENCE = 120.0  # for 100 MiB on a machine with other work
POLL = 0.02
RECEIVED = re.compile(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*")


@dataclass(frozen=True, kw_only=True)
class Record:
    """A record of the log: `contacts` by primary address with whether each was in the envelope only."""

    user: str
    contacts: dict[str, bool]
    direction: str
    reason: str
    raw: bytes
    size: int
    sources: list[str]


@dataclass(kw_only=True)
class MailChain:
    """`ports` are onrecord's, by provider and kind of TLS: "postfix-starttls" and so on."""

    pki: Pki
    sink: RecordingProvider
    postfix: Postfix
    dovecot: Dovecot
    served: Served
    ports: dict[str, int]

    def access(self, provider: str, tls: str = "starttls", mechanism: str = "PLAIN") -> Access:
        """How a client reaches `provider` through onrecord."""
        return Access(port=self.ports[f"{provider}-{tls}"], tls=tls, pki=self.pki, mechanism=mechanism)

    async def arrived(self, mark: bytes, *clients: Postfix | Dovecot) -> Received:
        """The one message at the sink that has `mark` in its first octets; the sink forgets it."""
        found: list[Received] = []

        def is_there() -> bool:
            found[:] = [each for each in self.sink.messages if mark in each.mail_data[:4096]]
            return bool(found)

        try:
            await self.sink.until(is_there, seconds=PATIENCE)
        except TimeoutError:
            said = (each.log_text()[-4000:] for each in (self.postfix, self.dovecot, *clients))
            pytest.fail("the message did not arrive\n" + "\n".join((self.served.log_text()[-4000:], *said)))
        assert len(found) == 1, "the message arrived more than once"
        self.sink.messages.remove(found[0])
        return found[0]

    def logins(self, provider: str, mechanism: str) -> int:
        """How often `provider` has said that a login by `mechanism` went well."""
        peer = {"postfix": self.postfix, "dovecot": self.dovecot}[provider]
        return peer.log_text().count(f"method={mechanism},")

    async def logged_in(self, provider: str, mechanism: str, *, times: int) -> None:
        """Waits until `logins` has reached `times`: servers write their logs in processes of their own."""
        async with asyncio.timeout(PATIENCE):
            while self.logins(provider, mechanism) < times:
                await asyncio.sleep(POLL)

    async def record(self, message_id: str) -> Record:
        """The one record of a message, once the recorder has it."""
        query = (
            "select email.id, account, direction, reason, size, content from email"
            " join user_account on user_account.id = email.user where message_id = ?"
        )
        async with asyncio.timeout(PATIENCE):
            while not (rows := await asyncio.to_thread(self.served.rows, query, message_id)):
                await asyncio.sleep(POLL)
        assert len(rows) == 1, "the message is recorded more than once"
        email, user, direction, reason, size, content = rows[0]
        return Record(
            user=user,
            contacts=dict(self._contacts(email)),
            direction=direction,
            reason=reason,
            raw=self._raw(content),
            size=size,
            sources=[source for (source,) in self.served.rows("select source from capture where email = ?", email)],
        )

    def _contacts(self, email: int) -> list[tuple[str, bool]]:
        query = (
            "select primary_address, bcc from email_contact"
            " join contact on contact.id = email_contact.contact where email = ?"
        )
        return [(address, bool(bcc)) for address, bcc in self.served.rows(query, email)]

    def _raw(self, content: Any) -> bytes:
        parts = self.served.rows("select octets from content_part where hash = ? order by number", content)
        decompressor = zstandard.ZstdDecompressor()
        return b"".join(decompressor.decompress(octets) for (octets,) in parts)


def without_received(content: bytes) -> bytes:
    """Content without the one Received field that a provider puts before it."""
    match = RECEIVED.match(content)
    assert match is not None, content[:200]
    return content[match.end() :]


def addresses(paths: Iterable[str | bytes]) -> list[str]:
    """Forward-paths so that they can be compared: clients write a domain in either form, servers sort."""
    return sorted(_with_u_labels(each if isinstance(each, str) else each.decode()) for each in paths)


def _with_u_labels(path: str) -> str:
    local_part, _, domain = path.rpartition("@")
    return f"{local_part}@{idna.decode(domain)}"


def hashed(content: bytes) -> str:
    """What content is compared by where showing it would help nobody."""
    return hashlib.sha256(content).hexdigest()
