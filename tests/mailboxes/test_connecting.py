"""Connecting by OAuth 2 as a user does it: the program, an issuer, a browser, and a Dovecot that takes the tokens."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from debian_peers import LOGINS, PASSWORD, bearer_token, need
from dovecot_mailboxes import DovecotMailboxes
from oauth_server import OAuthServer
from pki import Pki
from sample import sample_directory
from served import to_toml

from onrecord.settings import load
from proxy.route import Tls
from store.database import Database
from store.directory import Directory
from store.sealing import SealingKey

ROOT = Path(__file__).parents[2]
ANN, BOB = LOGINS
pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def dovecot(pki: Pki) -> AsyncIterator[DovecotMailboxes]:
    need("dovecot", "/usr/lib/dovecot", root=True)
    async with DovecotMailboxes(pki) as peer:
        yield peer


@pytest_asyncio.fixture(loop_scope="module")
async def server() -> AsyncIterator[OAuthServer]:
    async with OAuthServer(access=bearer_token, secret="hush-hush") as running:
        running.interval = 1
        yield running


@dataclass
class Installation:
    """Settings, keys and database in a folder; `start` runs the program."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "onrecord.toml"

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ONRECORD_")}
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "onrecord", "-c", str(self.config), "mailbox", *words,
            cwd=ROOT, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *words: str, says: bytes = b"") -> tuple[int, str, str]:
        process = await self.start(*words)
        out, error = await process.communicate(says)
        assert b"Traceback" not in error
        assert process.returncode is not None
        return process.returncode, out.decode(), error.decode()

    def octets(self) -> bytes:
        return b"".join(each.read_bytes() for each in self.folder.rglob("*") if each.is_file())


@pytest_asyncio.fixture(loop_scope="module")
async def installation(tmp_path: Path, dovecot: DovecotMailboxes, server: OAuthServer) -> Installation:
    installed = Installation(tmp_path)
    providers = []
    for tls in (Tls.IMPLICIT, Tls.STARTTLS):
        provider = dovecot.provider(tls)
        table: dict[str, Any] = {"name": tls.value, "kind": "imap", "host": "localhost", "port": provider.port}
        providers.append(table | {"tls": tls.value, "ca_file": dovecot.pki.ca_file})
    providers[0]["domains"] = ["acme.example"]
    (tmp_path / "own.secret").write_text("hush-hush")
    issuer = server.issuer().model_dump(exclude={"ca_file", "extra"}) | {"client_secret_file": "own.secret"}
    installed.config.write_text(to_toml({"provider": providers}) + "\n[oauth.own]\n" + to_toml(issuer))
    settings = load(installed.config)
    settings.key_ring().write([SealingKey.make()])
    database = await Database.open(settings.database_url)
    await sample_directory(Directory(database, settings.bell))
    await database.close()
    return installed


async def told(process: asyncio.subprocess.Process, pattern: str) -> str:
    """What a line of standard error holds that the user is shown."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while True:
            line = (await process.stderr.readline()).decode()
            assert line, "the program has ended"
            if match := re.search(pattern, line):
                return match[0]


def browse(address: str) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=30) as response:
        response.read()


CONNECT = ("connect", ANN, "--user", ANN, "--json")


async def test_a_consent_in_a_browser_connects_and_the_tokens_open_the_mailbox(
    installation: Installation, server: OAuthServer
) -> None:
    process = await installation.start(*CONNECT, "--oauth", "own")
    await asyncio.to_thread(browse, await told(process, r"http://127\.0\.0\.1:\S+/authorize\S+"))
    out, error = await process.communicate()
    assert process.returncode == 0, error
    value = json.loads(out)
    assert (value["mechanism"], value["oauth"], value["state"]) == ("XOAUTH2", "own", "ok")
    status, out, _ = await installation.run("status", "--try", "--json")
    assert status == 0
    assert json.loads(out)[0]["opens_now"] is True
    everything = installation.octets() + error
    for secret in server.issued:
        assert secret.encode() not in everything


async def test_a_consent_on_another_device_connects(installation: Installation, server: OAuthServer) -> None:
    process = await installation.start(*CONNECT, "--oauth", "own", "--device", "--provider", "starttls")
    assert "WDJB-MJHT" in await told(process, r"http://127\.0\.0\.1:\S+/activate and enter .*")
    server.devices.update(dict.fromkeys(server.devices, "approved"))
    out, error = await process.communicate()
    assert process.returncode == 0, error
    assert json.loads(out)["server"] == "starttls"


async def test_the_consent_of_somebody_else_does_not_open_the_mailbox(
    installation: Installation, server: OAuthServer
) -> None:
    server.login = "somebody@else.example"
    process = await installation.start(*CONNECT, "--oauth", "own")
    await asyncio.to_thread(browse, await told(process, r"http://127\.0\.0\.1:\S+/authorize\S+"))
    out, error = await process.communicate()
    assert process.returncode == 1
    assert out == b""
    assert b"the login 'ann@acme.example' was refused by the server of 'implicit'" in error
    assert json.loads((await installation.run("list", "--json"))[1]) == []


@pytest.mark.parametrize("way", [(), ("--device",)])
async def test_a_refusal_is_told_and_nothing_is_connected(
    installation: Installation, server: OAuthServer, way: tuple[str, ...]
) -> None:
    server.consents = False
    process = await installation.start(*CONNECT, "--oauth", "own", *way)
    address = await told(process, r"http://127\.0\.0\.1:\S+/(authorize\S+|activate)")
    if way:
        server.devices.update(dict.fromkeys(server.devices, "access_denied"))
    else:
        await asyncio.to_thread(browse, address)
    _, error = await process.communicate()
    assert process.returncode == 1
    assert b"own answers access_denied" in error
    assert b"Traceback" not in error
    assert json.loads((await installation.run("list", "--json"))[1]) == []


async def test_a_token_that_has_ended_is_renewed_and_a_consent_that_is_over_is_told(
    installation: Installation, server: OAuthServer
) -> None:
    server.lifetime = 0
    process = await installation.start(*CONNECT, "--oauth", "own")
    await asyncio.to_thread(browse, await told(process, r"http://127\.0\.0\.1:\S+/authorize\S+"))
    await process.communicate()
    status, out, _ = await installation.run("status", "--try", "--json")
    assert (status, json.loads(out)[0]["opens_now"]) == (0, True)
    assert [each["grant_type"] for each in server.forms()] == ["authorization_code", "refresh_token"]
    server.grants[0].is_over = True
    status, out, _ = await installation.run("status", "--try", "--json")
    assert status == 1
    assert "invalid_grant" in json.loads(out)[0]["why_not"]
    status, out, _ = await installation.run("status", "--json")
    assert (status, json.loads(out)[0]["state"]) == (1, "needs reconnect")
    process = await installation.start(*CONNECT, "--oauth", "own")
    await asyncio.to_thread(browse, await told(process, r"http://127\.0\.0\.1:\S+/authorize\S+"))
    await process.communicate()
    assert (await installation.run("status", "--try"))[0] == 0


async def test_a_password_connects_over_starttls_and_tls(installation: Installation) -> None:
    for provider in ("implicit", "starttls"):
        words = ("connect", BOB, "--user", BOB, "--provider", provider, "--password-stdin")
        status, out, error = await installation.run(*words, says=PASSWORD.encode() + b"\n")
        assert status == 0, error
        assert out == f"bob@acme.example is connected for bob@acme.example, at {provider} by PLAIN\n"
    assert (await installation.run("status", "--try"))[0] == 0
    assert PASSWORD.encode() not in installation.octets()
