"""Our own logins at a Dovecot, over TLS, with passwords and with bearer tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from debian_peers import LOGINS, PASSWORD, bearer_token, need
from dovecot_mailboxes import DovecotMailboxes
from pki import Pki

from certs import client_context
from engine.secret import Secret
from proxy.failures import DialError
from proxy.imap.own_login import LoginRefused, MailboxCredentials
from proxy.limits import Deadlines
from proxy.mailbox_login import open_mailbox
from proxy.route import Tls

ANN = LOGINS[0]
pytestmark = pytest.mark.peers


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def dovecot(pki: Pki) -> AsyncIterator[DovecotMailboxes]:
    need("dovecot", "/usr/lib/dovecot", root=True)
    async with DovecotMailboxes(pki) as peer:
        yield peer


async def opened(
    dovecot: DovecotMailboxes, mechanism: str, secret: str, *, tls: Tls = Tls.IMPLICIT
) -> frozenset[bytes]:
    """Logs in, asks for the capabilities unless they were told, and leaves."""
    credentials = MailboxCredentials(login=ANN, mechanism=mechanism, secret=Secret(secret.encode()))
    context = client_context(dovecot.pki.ca_file)
    leg, done = await open_mailbox(dovecot.provider(tls), context, credentials, deadlines=Deadlines())
    leg.outlet.write(b"a STATUS INBOX (MESSAGES)\r\n")
    said = b""
    async with asyncio.timeout(30):
        while b"a OK" not in said:
            said += await leg.octets()
    leg.drop()
    assert b"* STATUS INBOX" in said
    return done.capabilities or frozenset()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.STARTTLS])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_password_opens_the_mailbox(dovecot: DovecotMailboxes, mechanism: str, tls: Tls) -> None:
    assert b"IDLE" in await opened(dovecot, mechanism, PASSWORD, tls=tls)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_token_opens_the_mailbox(dovecot: DovecotMailboxes, mechanism: str) -> None:
    assert b"IDLE" in await opened(dovecot, mechanism, bearer_token(ANN))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
async def test_what_does_not_open_it_is_refused_for_good(dovecot: DovecotMailboxes, mechanism: str) -> None:
    with pytest.raises(LoginRefused) as caught:
        await opened(dovecot, mechanism, "not-the-secret")
    assert not caught.value.is_passing
    assert "not-the-secret" not in str(caught.value)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_server_that_is_not_trusted_gets_no_secret(dovecot: DovecotMailboxes) -> None:
    credentials = MailboxCredentials(login=ANN, mechanism="PLAIN", secret=Secret(PASSWORD.encode()))
    before = dovecot.log_text().count("Login:")
    with pytest.raises(DialError, match="certificate was refused"):
        await open_mailbox(dovecot.provider(Tls.IMPLICIT), client_context(None), credentials, deadlines=Deadlines())
    assert dovecot.log_text().count("Login:") == before
