"""Mail servers that send through onrecord, as a relayhost: Postfix by DATA, Dovecot's submission service by BDAT.

Each of them puts a Received field of its own before the message; that is part of what onrecord gets from its client.
"""

from __future__ import annotations

import pytest
from debian_peers import Dovecot, Postfix
from mail_chain import MailChain, addresses, hashed, without_received
from mail_clients import Mail, hand_over
from message_kinds import KINDS, Sample, big_message

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024
WITHOUT_SMTPUTF8 = [kind for kind in KINDS if kind != "SMTPUTF8"]  # Dovecot has it not, at either end


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
async def test_postfix_sends_by_relayhost(
    chain: MailChain, postfix_client: Postfix, mechanism: str, provider: str, tls: str
) -> None:
    sample = KINDS["eight-bit"]()
    logins = chain.logins(provider, mechanism)
    await _by_postfix(chain, postfix_client, f"{provider}-{tls}-{mechanism}", sample)
    await chain.logged_in(provider, mechanism, times=logins + 1)


@pytest.mark.parametrize(
    ("kind", "provider"), [(kind, "postfix") for kind in KINDS] + [(kind, "dovecot") for kind in WITHOUT_SMTPUTF8]
)
async def test_postfix_sends_messages_of_every_kind(
    chain: MailChain, postfix_client: Postfix, kind: str, provider: str
) -> None:
    await _by_postfix(chain, postfix_client, f"{provider}-starttls-PLAIN", KINDS[kind]())


@pytest.mark.parametrize("provider", [pytest.param("postfix", marks=pytest.mark.soak), "dovecot"])
async def test_postfix_sends_100_mib(chain: MailChain, postfix_client: Postfix, provider: str) -> None:
    await _by_postfix(chain, postfix_client, f"{provider}-starttls-PLAIN", big_message(100 * MIB))


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
@pytest.mark.parametrize("kind", WITHOUT_SMTPUTF8)
async def test_dovecot_sends_by_bdat(
    chain: MailChain, dovecot_clients: dict[str, Dovecot], kind: str, provider: str, tls: str
) -> None:
    await _by_dovecot(chain, dovecot_clients[f"{provider}-{tls}"], KINDS[kind]())


@pytest.mark.parametrize("provider", ["postfix", pytest.param("dovecot", marks=pytest.mark.soak)])
async def test_dovecot_sends_100_mib_by_bdat(
    chain: MailChain, dovecot_clients: dict[str, Dovecot], provider: str
) -> None:
    await _by_dovecot(chain, dovecot_clients[f"{provider}-starttls"], big_message(100 * MIB))


async def _by_postfix(chain: MailChain, postfix: Postfix, route: str, sample: Sample) -> None:
    await hand_over(postfix.ports[route], Mail(content=sample.content, recipients=sample.recipients))
    await _compare(chain, sample, postfix)


async def _by_dovecot(chain: MailChain, dovecot: Dovecot, sample: Sample) -> None:
    mail = Mail(content=sample.content, recipients=sample.recipients)
    await hand_over(dovecot.starttls_port, mail, pki=chain.pki)
    await _compare(chain, sample, dovecot)


async def _compare(chain: MailChain, sample: Sample, client: Postfix | Dovecot) -> None:
    """What the provider got from us is what stands on record, and within both is what was handed over."""
    received = await chain.arrived(sample.message_id.encode(), client)
    record = await chain.record(sample.message_id)
    submitted = without_received(received.content)
    assert hashed(record.raw) == hashed(submitted)
    assert hashed(without_received(submitted)) == hashed(sample.content)
    assert record.user == "ann@acme.example"
    assert record.contacts == {"kim@cust.example": False}
    assert addresses(received.forward_paths) == addresses(sample.recipients)
