"""What a test asks of the chain client, onrecord, IMAP server: logins with mail of their own, and ports of both."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import zstandard
from debian_peers import MAILBOX_DOMAIN, Dovecot
from mail_clients import Access
from pki import Pki
from served import Served

from store.directory import Directory

__all__ = ["DIRECT", "RELAYED", "MailboxChain", "mailbox_chain"]

DIRECT, RELAYED = "direct", "relayed"


@dataclass(kw_only=True)
class MailboxChain:
    """onrecord before Dovecot: a door for each kind of TLS, both legs alike, and "routed", where the login chooses.

    All logins are users of the sample portal.
    """

    pki: Pki
    dovecot: Dovecot
    served: Served
    directory: Directory
    ports: dict[str, int]
    _serial: itertools.count[int] = field(default_factory=itertools.count)

    async def new_login(self) -> str:
        """A login that no other test has, without mail: a user with a connected address, whose mail may be logged."""
        login = f"user-{next(self._serial)}@{MAILBOX_DOMAIN}"
        await self.directory.add_user("P1", login, connected=[login])
        return login

    def port(self, way: str, door: str) -> int:
        """Where a client connects who goes `DIRECT` to Dovecot or is `RELAYED`."""
        if way == RELAYED:
            return self.ports[door]
        return self.dovecot.imap_starttls_port if door == "starttls" else self.dovecot.imap_implicit_port

    def access(self, way: str, login: str, *, door: str = "implicit", mechanism: str = "PLAIN") -> Access:
        """The same for a client we did not write."""
        tls = "starttls" if door == "starttls" else "implicit"
        return Access(port=self.port(way, door), tls=tls, pki=self.pki, mechanism=mechanism, login=login)

    def logged(self, login: str) -> dict[str, tuple[str, bytes]]:
        """The records of a user: direction and content by Message-ID. Fails when a message is there twice."""
        query = (
            "select message_id, direction, content from email"
            " join user_account on user_account.id = email.user where account = ?"
        )
        rows = self.served.rows(query, login)
        found = {message_id: (direction, self._content(content)) for message_id, direction, content in rows}
        assert len(found) == len(rows), "a message is recorded more than once"
        return found

    def _content(self, content: str) -> bytes:
        parts = self.served.rows("select octets from content_part where hash = ? order by number", content)
        return b"".join(zstandard.ZstdDecompressor().decompress(octets) for (octets,) in parts)


@contextlib.asynccontextmanager
async def mailbox_chain(pki: Pki, folder: Path) -> AsyncIterator[MailboxChain]:
    """The chain, started and stopped. The certificates have a common name, because fetchmail asks for one."""
    certificate, key = pki.issue_specially("localhost")
    pki = replace(pki, certificate=certificate, key=key)
    async with Dovecot(pki, mailboxes=True) as dovecot:
        usual = {"kind": "imap", "host": "localhost", "ca_file": pki.ca_file}
        starttls = {"port": dovecot.imap_starttls_port, "tls": "starttls"}
        implicit = {"port": dovecot.imap_implicit_port, "tls": "implicit"}
        providers = [
            usual | starttls | {"name": "starttls"},
            usual | implicit | {"name": "implicit"},
            usual | starttls | {"name": "routed", "domains": [MAILBOX_DOMAIN]},
        ]
        listeners = [
            {"kind": "imap", "tls": "starttls", "provider": "starttls"},
            {"kind": "imap", "tls": "implicit", "provider": "implicit"},
            {"kind": "imap", "tls": "implicit"},
        ]
        async with Served(folder, pki, providers=providers, listeners=listeners) as served:
            ports = dict(zip(("starttls", "implicit", "routed"), served.ports, strict=True))
            yield MailboxChain(pki=pki, dovecot=dovecot, served=served, directory=await served.directory(), ports=ports)
