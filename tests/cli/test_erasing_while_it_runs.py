"""Erasing while the relay runs: what is in the log is gone, also from the file, and mail that follows is not logged."""

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


async def run(served: Served, *words: str) -> Any:
    line = [sys.executable, "-m", "onrecord", *words, "--json", "-c", str(served.config)]
    folder = Path(__file__).parents[2]
    done = await asyncio.to_thread(subprocess.run, line, cwd=folder, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def send(port: int, number: int, *recipients: str) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.login("ann@acme.example", "secret")
        content = (
            f"From: ann@acme.example\r\nTo: kim@cust.example\r\nMessage-ID: <{number}@acme.example>\r\n"
            f"Date: Tue, 24 Nov 2026 10:0{number}:00 +0000\r\nSubject: Offer {number}\r\n\r\nDear kim@cust.example\r\n"
        )
        client.sendmail("ann@acme.example", ["kim@cust.example", *recipients], content.encode())


async def test_an_erased_contact_is_gone_from_the_file_and_no_copy_brings_it_back(tmp_path: Path, pki: Pki) -> None:
    async with RecordingProvider() as provider, Served(tmp_path, pki, providers=[provider]) as served:
        await asyncio.to_thread(send, served.port, 1)
        await served.drained()
        assert len(await run(served, "emails")) == 1
        report = await run(served, "erase", "contact", "kim@cust.example")
        assert report["emails_redacted"] == [1]
        assert report["is_rewritten"]
        octets = b"".join(path.read_bytes() for path in served.data.glob("onrecord.sqlite*"))
        assert b"kim@cust.example" not in octets
        assert b"kim.k@gmail.com" not in octets
        await asyncio.to_thread(send, served.port, 2)
        await asyncio.to_thread(send, served.port, 3, "log-p1@cap.example")
        await served.drained()
        assert await run(served, "emails") == []
        reasons = [each["reason"] for each in await run(served, "decisions")]
        assert reasons[:2] == ["erased_address", "no_existing_contact"]
        contacts = [each["primary"] for each in await run(served, "contact", "list")]
        assert "kim@cust.example" not in contacts
        assert len(provider.messages) == 3
