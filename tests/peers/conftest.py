"""The whole chain for tests with programs of others: mail clients, onrecord, Debian's providers, a sink that records.

It is started once for all tests of this folder. Each test looks for its own message by the Message-ID.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from debian_peers import LOGINS, REFUSAL, REFUSED, Dovecot, Postfix, Route, need
from mail_chain import MailChain
from mailbox_chain import MailboxChain, mailbox_chain
from pki import Pki
from recording_provider import RecordingProvider
from served import Served


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sink() -> AsyncIterator[RecordingProvider]:
    """Where all mail ends."""
    verdicts = {REFUSED.encode(): f"{REFUSAL}\r\n".encode()}
    async with RecordingProvider(mechanisms=(), verdicts=verdicts) as sink:
        yield sink


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chain(
    pki: Pki, sink: RecordingProvider, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MailChain]:
    """onrecord before Postfix and before Dovecot, with a listener for each and each kind of TLS."""
    need("postfix", "dovecot", root=True)
    route = Route(port=sink.port)
    async with Dovecot(pki, route) as dovecot, Postfix(pki, route=route, sasl_port=dovecot.sasl_port) as postfix:
        providers = {
            f"{peer.name}-{tls}": {
                "name": f"{peer.name}-{tls}",
                "host": "localhost",
                "port": peer.implicit_port if tls == "implicit" else peer.starttls_port,
                "tls": tls,
                "ca_file": pki.ca_file,
            }
            for peer in (postfix, dovecot)
            for tls in ("starttls", "implicit")
        }
        listeners = [{"provider": name, "tls": each["tls"]} for name, each in providers.items()]
        folder = tmp_path_factory.mktemp("served")
        async with Served(folder, pki, providers=list(providers.values()), listeners=listeners) as served:
            ports = dict(zip(providers, served.ports, strict=True))
            yield MailChain(pki=pki, sink=sink, postfix=postfix, dovecot=dovecot, served=served, ports=ports)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postfix_client(chain: MailChain) -> AsyncIterator[Postfix]:
    """Postfix that sends what it is given through onrecord; a port for each way, "postfix-starttls-PLAIN" and so on."""
    routes = {
        f"{name}-{mechanism}": Route(port=port, tls=name.rpartition("-")[2], login=LOGINS[0], mechanism=mechanism)
        for name, port in chain.ports.items()
        for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256")
    }
    async with Postfix(chain.pki, routes=routes) as postfix:
        yield postfix


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def dovecot_clients(chain: MailChain) -> AsyncIterator[dict[str, Dovecot]]:
    """Dovecot's submission service that sends through onrecord to each provider; it sends BDAT."""
    async with contextlib.AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(
                Dovecot(chain.pki, Route(port=port, tls=name.rpartition("-")[2], login=LOGINS[0]))
            )
            for name, port in chain.ports.items()
        }


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mailboxes(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MailboxChain]:
    """onrecord before Dovecot's IMAP service."""
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    async with mailbox_chain(pki, tmp_path_factory.mktemp("mailboxes")) as chain:
        yield chain
