"""A provider whose host is misspelt in the settings is told like one that cannot be reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from in_process import InProcess
from smtp_client import Client

from proxy.route import Provider, Tls

EMPTY_LABEL = "smtp..provider.example"
LONG_LABEL = f"{'x' * 64}.provider.example"  # RFC 1035 allows 63 octets


@pytest.mark.parametrize("host", [EMPTY_LABEL, LONG_LABEL])
async def test_client_is_told_when_no_resolver_takes_the_host(tmp_path: Path, host: str) -> None:
    provider = Provider(name="provider", host=host, tls=Tls.NONE)
    async with InProcess(tmp_path, [provider]) as relay, Client(relay.port) as client:
        assert (await client.reply()).startswith(b"220")
        assert (await client.say(b"EHLO client.example\r\n")).startswith(b"421 4.4.1 ")
