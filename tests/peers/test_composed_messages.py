"""Messages that clients write themselves: onrecord hands on what a provider would have got without it."""

from __future__ import annotations

import pytest
from debian_peers import PASSWORD, need
from mail_chain import MailChain, hashed, without_received
from mail_clients import CLIENTS, COMPOSERS, Access
from message_kinds import new_message_id
from recording_provider import RecordingProvider, Tls

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

PROGRAMS = {each.name: each.programs for each in CLIENTS}


@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
@pytest.mark.parametrize("client", COMPOSERS)
async def test_message_is_the_same_with_and_without_the_relay(chain: MailChain, client: str, provider: str) -> None:
    need(*PROGRAMS[client])
    message_id = new_message_id()
    context = chain.pki.server_context()
    async with RecordingProvider(tls=Tls.STARTTLS, context=context, password=PASSWORD) as direct:
        await COMPOSERS[client](Access(port=direct.port, tls="starttls", pki=chain.pki), message_id)
        sent = direct.messages[0]
    await COMPOSERS[client](chain.access(provider), message_id)

    received = await chain.arrived(message_id.encode())
    assert without_received(received.content) == sent.content
    assert received.forward_paths == sent.forward_paths
    record = await chain.record(message_id)
    assert hashed(record.raw) == hashed(sent.content)
    assert record.contacts == {"kim@cust.example": False}
