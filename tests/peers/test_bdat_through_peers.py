"""BDAT in pieces of any size to real servers: its octets are opaque, whatever they look like (RFC 3030)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import pytest
from debian_peers import LOGINS, PASSWORD
from mail_chain import MailChain, hashed, without_received
from message_kinds import KINDS, Sample, text_message
from smtp_client import Client, plain

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

Cut = Callable[[bytes], Iterator[bytes]]


def _whole(content: bytes) -> Iterator[bytes]:
    yield content


def _in_growing_pieces(content: bytes) -> Iterator[bytes]:
    """1, 2, 3, 5, 8 ... octets: the cuts fall within lines, line ends and the header section."""
    length, following = 1, 2
    while content:
        yield content[:length]
        content, length, following = content[length:], following, length + following


def _behind_each_line_of_the_header_section(content: bytes) -> Iterator[bytes]:
    section, separator, body = content.partition(b"\r\n\r\n")
    yield from (line + b"\r\n" for line in section.split(b"\r\n"))
    yield separator[2:] + body


def _octet_by_octet_to_the_body(content: bytes) -> Iterator[bytes]:
    place = content.index(b"\r\n\r\n") + 6
    yield from (content[each : each + 1] for each in range(place))
    yield content[place:]


CUTS: dict[str, Cut] = {
    "whole": _whole,
    "growing": _in_growing_pieces,
    "lines": _behind_each_line_of_the_header_section,
    "octets": _octet_by_octet_to_the_body,
}


def _commands_in_the_body() -> Sample:
    return text_message(
        b"\r\n.\r\nQUIT\r\nBDAT 0 LAST\r\nRSET\r\nMAIL FROM:<evil@else.example>\r\nBDAT 5 LAST\r\n.\r\n" * 20
    )


SAMPLES = {"dots": KINDS["dots"], "eight-bit": KINDS["eight-bit"], "commands": _commands_in_the_body}


@pytest.mark.parametrize("ends_empty", [False, True], ids=["last-has-octets", "last-is-empty"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
async def test_chunks_arrive_and_are_recorded_as_one_message(
    chain: MailChain, provider: str, kind: str, cut: str, ends_empty: bool
) -> None:
    sample = SAMPLES[kind]()
    pieces = list(CUTS[cut](sample.content)) + [b""] * ends_empty
    async with Client(chain.ports[f"{provider}-implicit"], context=chain.pki.client_context()) as client:
        await _log_in(client)
        await client.address(b"kim@cust.example")
        for command in _commands(pieces):
            answer = await client.say(command)
            assert answer.startswith(b"250"), answer
    await _compare(chain, sample)


@pytest.mark.parametrize("provider", ["postfix", "dovecot"])
async def test_a_pipelined_transaction_of_chunks_arrives_and_is_recorded(chain: MailChain, provider: str) -> None:
    sample = _commands_in_the_body()
    commands = [
        b"MAIL FROM:<ann@acme.example> BODY=8BITMIME\r\n",
        b"RCPT TO:<kim@cust.example>\r\n",
        *_commands(_in_growing_pieces(sample.content)),
        b"QUIT\r\n",
    ]
    async with Client(chain.ports[f"{provider}-implicit"], context=chain.pki.client_context()) as client:
        await _log_in(client)
        client.send(b"".join(commands))
        answers = await client.replies(len(commands))
    assert [each[:3] for each in answers] == [b"250"] * (len(commands) - 1) + [b"221"], answers
    await _compare(chain, sample)


async def _log_in(client: Client) -> None:
    extensions = await client.greet()
    assert b"CHUNKING" in extensions
    answer = await client.say(b"AUTH PLAIN " + plain(LOGINS[0], PASSWORD) + b"\r\n")
    assert answer.startswith(b"235"), answer


def _commands(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """A BDAT command with each piece, the last one LAST."""
    for piece, following in itertools.pairwise([*pieces, None]):
        assert piece is not None
        yield b"BDAT %d%s\r\n" % (len(piece), b" LAST" if following is None else b"") + piece


async def _compare(chain: MailChain, sample: Sample) -> None:
    received = await chain.arrived(sample.message_id.encode())
    assert hashed(without_received(received.content)) == hashed(sample.content)
    record = await chain.record(sample.message_id)
    assert hashed(record.raw) == hashed(sample.content)
    assert record.contacts == {"kim@cust.example": False}
