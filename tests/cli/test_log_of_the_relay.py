"""The commands on the log of the running program: what a client has sent is found, shown and explained."""

from __future__ import annotations

import asyncio
import json
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any

from pki import Pki
from recording_provider import RecordingProvider
from served import Served

LOGGED = (
    b"From: Ann <ann@acme.example>\r\nTo: kim@cust.example\r\nMessage-ID: <logged@acme.example>\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nSubject: Offer\r\n\r\n.a line with a dot\r\n..\r\nend\r\n"
)
SKIPPED = (
    b"From: Ann <ann@acme.example>\r\nTo: x@stranger.example\r\nMessage-ID: <skipped@acme.example>\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\nSubject: Private\r\n\r\nNothing for the log\r\n"
)


async def run(served: Served, *words: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "onrecord", *words, "-c", str(served.config)]
    folder = Path(__file__).parents[2]
    return await asyncio.to_thread(subprocess.run, line, cwd=folder, capture_output=True, timeout=60, check=False)


async def json_of(served: Served, *words: str) -> Any:
    done = await run(served, *words, "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("ann@acme.example", "secret")
        client.sendmail("ann@acme.example", ["kim@cust.example", "lee@cust.example"], LOGGED)
        client.sendmail("ann@acme.example", ["x@stranger.example"], SKIPPED)


async def test_what_was_sent_is_found_shown_and_explained_while_the_program_runs(tmp_path: Path, pki: Pki) -> None:
    async with (
        RecordingProvider() as provider,
        Served(tmp_path, pki, providers=[provider]) as served,
    ):
        await asyncio.to_thread(send, served.port)
        await served.drained()
        (email,) = await json_of(served, "emails")
        assert email["message_id"] == "logged@acme.example"
        assert email["contacts"] == ["kim@cust.example", "lee@cust.example"]
        assert email["to"] == ["kim@cust.example"]
        assert (await run(served, "show", str(email["id"]), "--raw")).stdout == LOGGED
        explained = await json_of(served, "explain", "<logged@acme.example>")
        assert explained["email"] == email
        assert explained["explanation"].startswith("Logged: ann@acme.example sent it to")
        explained = await json_of(served, "explain", "skipped@acme.example")
        assert explained["email"] is None
        assert [each["reason"] for each in explained["decisions"]] == ["no_existing_contact"]
        assert len(await json_of(served, "decisions")) == 2
        assert len(await json_of(served, "decisions", "--address", "x@stranger.example")) == 1
        assert provider.messages[0].content == LOGGED


async def test_a_change_of_the_rule_counts_from_the_next_message_on(tmp_path: Path, pki: Pki) -> None:
    async with (
        RecordingProvider() as provider,
        Served(tmp_path, pki, providers=[provider]) as served,
    ):
        assert (await run(served, "rule", "set", "replies_only")).returncode == 0
        await asyncio.to_thread(send, served.port)
        await served.drained()
        assert await json_of(served, "emails") == []
        (decision,) = await json_of(served, "decisions", "--message-id", "logged@acme.example")
        assert decision["reason"] == "mode_replies_only"
