"""Every client to every provider, with each kind of TLS and each login the client has: unaltered, and on record."""

from __future__ import annotations

import uuid

import pytest
from debian_peers import need
from mail_chain import MailChain, hashed, without_received
from mail_clients import CLIENTS, Mail, MailClient

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

LOGINS = [pytest.param(each, name, id=f"{each.name}-{name}") for each in CLIENTS for name in each.mechanisms]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
@pytest.mark.parametrize(("client", "mechanism"), LOGINS)
async def test_mail_arrives_unaltered_and_is_recorded(
    chain: MailChain, client: MailClient, mechanism: str, provider: str, tls: str
) -> None:
    need(*client.programs)
    message_id = f"{uuid.uuid4()}@acme.example"
    content = (
        b"Date: Tue, 24 Nov 2026 10:00:00 +0100\r\nMessage-ID: <%s>\r\nFrom: Ann <ann@acme.example>\r\n"
        b"To: Kim <kim@cust.example>\r\nCc: lee@cust.example, someone@else.example\r\nSubject: Offer\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        b"Gr\xc3\xbc\xc3\x9fe\r\n.\r\n..two dots\r\n\r\nAnn\r\n" % message_id.encode()
    )
    recipients = ["kim@cust.example", "lee@cust.example", "someone@else.example", "max@other.example"]
    logins = chain.logins(provider, mechanism)
    await client.submit(chain.access(provider, tls, mechanism), Mail(content=content, recipients=recipients))

    received = await chain.arrived(message_id.encode())
    assert received.reverse_path == b"ann@acme.example"
    assert received.forward_paths == [each.encode() for each in recipients]
    assert without_received(received.content) == content
    await chain.logged_in(provider, mechanism, times=logins + 1)
    record = await chain.record(message_id)
    assert hashed(record.raw) == hashed(content)
    assert (record.user, record.direction, record.reason) == ("ann@acme.example", "outgoing", "sent_to_contact")
    assert record.contacts == {"kim@cust.example": False, "lee@cust.example": False, "max@other.example": True}
    assert record.sources == ["relay"]
