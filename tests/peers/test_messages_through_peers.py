"""Messages of every kind and size by every client to both providers: the same octets at the end and on record."""

from __future__ import annotations

import re

import pytest
from debian_peers import need
from mail_chain import MailChain, addresses, hashed, without_received
from mail_clients import CLIENTS, Mail, MailClient
from message_kinds import KINDS, Sample, big_message

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024
ADDED = re.compile(rb"Date: [^\r\n]+\r\nMessage-ID: <([0-9a-f]{32}@relay\.example)>\r\n\r\n")
clients = pytest.mark.parametrize("client", [pytest.param(each, id=each.name) for each in CLIENTS])


@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
@pytest.mark.parametrize("kind", KINDS)
@clients
async def test_message_arrives_and_is_recorded_octet_by_octet(
    chain: MailChain, client: MailClient, kind: str, provider: str
) -> None:
    if kind == "SMTPUTF8" and not (client.has_smtputf8 and provider == "postfix"):
        pytest.skip("not both of client and provider have SMTPUTF8")
    await _submit_and_compare(chain, client, provider, KINDS[kind]())


@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
@clients
async def test_message_of_100_mib_arrives_and_is_recorded_octet_by_octet(
    chain: MailChain, client: MailClient, provider: str
) -> None:
    await _submit_and_compare(chain, client, provider, big_message(100 * MIB))


async def _submit_and_compare(chain: MailChain, client: MailClient, provider: str, sample: Sample) -> None:
    need(*client.programs)
    await client.submit(chain.access(provider), Mail(content=sample.content, recipients=sample.recipients))
    received = await chain.arrived(sample.message_id.encode())
    record = await chain.record(sample.message_id)
    sent, arrived = sample.content, without_received(received.content)
    assert (len(arrived), hashed(arrived)) == (len(sent), hashed(sent))
    assert (len(record.raw), hashed(record.raw)) == (len(sent), hashed(sent))
    assert record.size == len(sent)
    assert record.contacts == {"kim@cust.example": False}
    assert addresses(received.forward_paths) == addresses(sample.recipients)


@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
@clients
async def test_message_of_no_octets_gets_the_two_fields_and_nothing_else(
    chain: MailChain, client: MailClient, provider: str
) -> None:
    need(*client.programs)
    unparseable = len(chain.served.rows("select id from decision where reason = 'unparseable'"))
    await client.submit(chain.access(provider), Mail(content=b"", recipients=["kim@cust.example"]))
    received = await chain.arrived(b"@relay.example>")
    assert ADDED.fullmatch(without_received(received.content)), received.content
    await chain.served.drained()
    assert len(chain.served.rows("select id from decision where reason = 'unparseable'")) == unparseable + 1
