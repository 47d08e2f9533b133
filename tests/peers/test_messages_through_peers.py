"""Messages of every kind and size by every client to both providers: the same octets at the end and on record."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from debian_peers import need
from mail_chain import MailChain, addresses, hashed, without_received
from mail_clients import CLIENTS, Mail, MailClient
from message_kinds import KINDS, Sample, big_message

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024
ADDED = re.compile(rb"Date: [^\r\n]+\r\nMessage-ID: <([0-9a-f]{32}@relay\.example)>\r\n\r\n")
clients = pytest.mark.parametrize("client", [pytest.param(each, id=each.name) for each in CLIENTS])


PROVIDERS = ("postfix", "dovecot")


def _possible() -> Iterator[Any]:
    """Dovecot has no SMTPUTF8, and neither have some clients."""
    for client, provider, kind in itertools.product(CLIENTS, PROVIDERS, KINDS):
        if kind != "SMTPUTF8" or (client.has_smtputf8 and provider == "postfix"):
            yield pytest.param(client, provider, kind, id=f"{client.name}-{provider}-{kind.replace(' ', '-')}")


@pytest.mark.parametrize(("client", "provider", "kind"), list(_possible()))
async def test_message_arrives_and_is_recorded_octet_by_octet(
    chain: MailChain, client: MailClient, provider: str, kind: str
) -> None:
    await _submit_and_compare(chain, client, provider, KINDS[kind]())


def _big_pairs() -> Iterator[Any]:
    """Each client with one provider and each provider with half of the clients; the other pairs are for `make soak`."""
    for number, client in enumerate(CLIENTS):
        for place, provider in enumerate(PROVIDERS):
            marks = [pytest.mark.soak] if (number + place) % 2 else []
            yield pytest.param(client, provider, id=f"{client.name}-{provider}", marks=marks)


@pytest.mark.parametrize(("client", "provider"), list(_big_pairs()))
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


@pytest.mark.parametrize("provider", PROVIDERS)
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
