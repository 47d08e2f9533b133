"""`onrecord mailbox disconnect` of what a consent had opened, with an issuer on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from loop_thread import LoopThread
from oauth_server import OAuthServer
from served import free_port, to_toml

from engine.secret import Secret
from onrecord import connecting
from onrecord.oauth import exchange
from onrecord.settings import load
from store.database import Database
from store.directory import Directory
from store.mailbox_secret import Tokens
from store.mailboxes import Mailboxes, NewMailbox
from store.sealing import Sealer

ANN, BOB = "ann@acme.example", "bob@acme.example"
GONE = f"{ANN} is disconnected\n"


@dataclass
class Consented:
    """An installation whose users have given consents at `server`."""

    sample: Any
    server: OAuthServer
    loop: LoopThread
    issuer: str = "own"
    tokens: list[str] = field(default_factory=list)

    def configure(self, **more: Any) -> None:
        kept = self.server.issuer(**more).model_dump(exclude={"ca_file", "extra", "client_secret_file"})
        table = to_toml(kept | {"client_secret_file": "own.secret"})
        self.sample.config.write_text(f'hash_key_file = "hash.key"\n[oauth.{self.issuer}]\n{table}')

    def connect(self, address: str, login: str) -> None:
        async def connected() -> None:
            database = await Database.open(self.sample.database_url)
            directory = Directory(database, self.sample.folder / "directory.bell")
            mailboxes = Mailboxes(database, Sealer(load(self.sample.config).key_ring().read))
            home = await directory.portal("P1")
            refresh = self.server.grant(login)
            self.tokens += [refresh, "access-token"]
            secret = Tokens(
                access=Secret(b"access-token"), refresh=Secret(refresh.encode()), stale_at=2e9, expires_at=2e9
            )
            new = NewMailbox(
                address=address, server="main", login=login, mechanism="XOAUTH2", issuer=self.issuer, secret=secret
            )
            await mailboxes.connect(directory, home, await directory.user("P1", address), new)
            await database.close()

        asyncio.run(connected())

    def disconnect(self, address: str = ANN) -> Any:
        """What is said then; it is no secret, and the mailbox is gone."""
        outcome = self.sample.done("mailbox", "disconnect", address)
        assert outcome.text.startswith(f"{address} is disconnected\n")
        assert address not in [each["address"] for each in self.sample.done("mailbox", "list", "--json").json]
        for secret in (*self.tokens, "hush-hush"):
            assert secret not in outcome.text + outcome.error
        return outcome


@pytest.fixture
def consented(sample: Any) -> Iterator[Consented]:
    async def start() -> OAuthServer:
        return await OAuthServer(secret="hush-hush").__aenter__()

    with LoopThread() as loop:
        installed = Consented(sample, loop.run(start()), loop)
        (sample.folder / "own.secret").write_text("hush-hush")
        installed.configure()
        sample.done("mailbox", "rekey")
        installed.connect(ANN, ANN)
        yield installed
        loop.run(installed.server.__aexit__(None, None, None))


def test_the_consent_is_revoked(consented: Consented) -> None:
    outcome = consented.disconnect()
    assert (outcome.text, outcome.error) == (f"{GONE}the consent was revoked at own\n", "")
    assert consented.server.grants[0].is_over


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((503, b""), "own answers 503"),
        ((400, b'{"error": "invalid_client"}'), "own answers invalid_client; see client_id"),
    ],
)
def test_an_issuer_that_does_not_do_it_is_told_with_where_the_user_can(
    consented: Consented, answer: tuple[int, bytes], why: str
) -> None:
    consented.server.answers.append(answer)
    outcome = consented.disconnect()
    assert outcome.text == GONE
    assert outcome.error.startswith(f"the consent was not revoked: {why}")
    assert outcome.error.endswith(f"; {ANN} can take it back at own\n")


def test_an_issuer_that_is_away_keeps_nobody_connected(consented: Consented) -> None:
    consented.configure(revocation_endpoint=f"http://127.0.0.1:{free_port()}/revoke")
    outcome = consented.disconnect()
    assert outcome.text == GONE
    assert "own cannot be reached: ConnectionRefusedError" in outcome.error


@pytest.mark.parametrize("late", [connecting, exchange])
def test_an_issuer_that_is_silent_is_not_waited_for(
    consented: Consented, late: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "REVOCATION_SECONDS", 0.5)
    monkeypatch.setattr(late, "REVOCATION_SECONDS", 0.1)
    consented.server.gate.clear()
    assert "does not answer in time" in consented.disconnect().error


@pytest.mark.parametrize(
    ("issuer", "where"),
    [("microsoft", "https://account.live.com/consent/Manage"), ("google", "https://myaccount.google.com/connections")],
)
def test_where_there_is_no_way_the_page_for_the_user_is_told(consented: Consented, issuer: str, where: str) -> None:
    consented.issuer = issuer
    consented.configure(revocation_endpoint="")
    consented.connect(BOB, BOB)
    outcome = consented.disconnect(BOB)
    assert f"no revocation endpoint of {issuer} is known; {BOB} can take it back at {where}" in outcome.error
    assert consented.server.requests == []


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("own.secret", "oauth.own.client_secret_file"),
        ("keys/sealing.key", "the sealing key does not open its tokens"),
    ],
)
def test_without_a_file_of_ours_it_is_disconnected_all_the_same(consented: Consented, lost: str, why: str) -> None:
    (consented.sample.folder / lost).unlink()
    assert f"not revoked: {why}" in consented.disconnect().error
    assert consented.server.requests == []


def test_without_the_issuer_in_the_settings_too(consented: Consented) -> None:
    consented.sample.config.write_text('hash_key_file = "hash.key"\n')
    assert "there is no table [oauth.own] in the settings" in consented.disconnect().error


def test_a_consent_that_opens_another_mailbox_stands_until_that_is_disconnected(consented: Consented) -> None:
    consented.connect(BOB, ANN.upper())
    outcome = consented.disconnect()
    assert outcome.error == "the consent stands: another connected mailbox has the same login\n"
    assert consented.server.requests == []
    assert "was revoked at own" in consented.disconnect(BOB).text
    assert consented.server.grants[1].is_over
