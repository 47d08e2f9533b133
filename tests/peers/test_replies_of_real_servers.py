"""What Postfix and Dovecot answer reaches the client in their own words, and counts for the record."""

from __future__ import annotations

import base64

import pytest
from debian_peers import LOGINS, PASSWORD, REFUSAL, REFUSED, bearer_token
from mail_chain import MailChain
from message_kinds import text_message
from smtp_client import Client, plain

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

providers = pytest.mark.parametrize("provider", ["postfix", "dovecot"])


def _xoauth2(token: str) -> bytes:
    return base64.b64encode(f"user={LOGINS[0]}\1auth=Bearer {token}\1\1".encode())


EXCHANGES = {
    "PLAIN with a wrong password": [b"AUTH PLAIN " + plain(LOGINS[0], "wrong")],
    "PLAIN after a prompt": [b"AUTH PLAIN", plain(LOGINS[0], PASSWORD)],
    "PLAIN cancelled": [b"AUTH PLAIN", b"*"],
    "PLAIN that is no base64": [b"AUTH PLAIN ?"],
    "LOGIN": [b"AUTH LOGIN", base64.b64encode(LOGINS[0].encode()), base64.b64encode(PASSWORD.encode())],
    "LOGIN with a wrong password": [b"AUTH LOGIN", base64.b64encode(LOGINS[0].encode()), b"d3Jvbmc="],
    "XOAUTH2": [b"AUTH XOAUTH2 " + _xoauth2(bearer_token(LOGINS[0]))],
    "XOAUTH2 with a token of somebody else": [b"AUTH XOAUTH2 " + _xoauth2(bearer_token(LOGINS[1])), b""],
    "XOAUTH2 with a long token": [b"AUTH XOAUTH2", _xoauth2("x" * 3000), b""],
    "SCRAM-SHA-256 cancelled": [b"AUTH SCRAM-SHA-256", b"*"],
}


@providers
@pytest.mark.parametrize("name", EXCHANGES)
async def test_login_is_answered_as_without_the_relay(chain: MailChain, name: str, provider: str) -> None:
    peer = {"postfix": chain.postfix, "dovecot": chain.dovecot}[provider]
    direct = await _exchange(chain, peer.implicit_port, EXCHANGES[name])
    relayed = await _exchange(chain, chain.ports[f"{provider}-implicit"], EXCHANGES[name])
    assert relayed == direct


async def _exchange(chain: MailChain, port: int, lines: list[bytes]) -> list[bytes]:
    """The replies; none to a line that nobody asked for."""
    answers: list[bytes] = []
    async with Client(port, context=chain.pki.client_context()) as client:
        await client.greet()
        for line in lines:
            if answers and not answers[-1].startswith(b"334"):
                break
            answers.append(await client.say(line + b"\r\n"))
    return answers


@providers
async def test_refused_recipient_hears_the_providers_words_and_is_not_on_record(
    chain: MailChain, provider: str
) -> None:
    sample = text_message(b"Hello\r\n", recipients=("kim@cust.example", REFUSED))
    async with Client(chain.ports[f"{provider}-implicit"], context=chain.pki.client_context()) as client:
        await client.greet()
        assert (await client.say(b"AUTH PLAIN " + plain(LOGINS[0], PASSWORD) + b"\r\n")).startswith(b"235")
        await client.address(b"kim@cust.example")
        refusal = await client.say(b"RCPT TO:<" + REFUSED.encode() + b">\r\n")
        assert (await client.say(b"DATA\r\n")).startswith(b"354")
        assert (await client.say(sample.content + b".\r\n")).startswith(b"250")

    assert refusal.startswith(REFUSAL[:10].encode())
    assert REFUSAL[10:].encode() in refusal
    received = await chain.arrived(sample.message_id.encode())
    assert received.forward_paths == [b"kim@cust.example"]
    assert (await chain.record(sample.message_id)).contacts == {"kim@cust.example": False}
