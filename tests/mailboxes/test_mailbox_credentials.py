"""What opens connected mailboxes: one renewal for all who ask, stored before it is used, and told when it is over."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from oauth_server import OAuthServer
from structlog.testing import capture_logs

from engine.secret import Secret
from onrecord.mailbox_credentials import ConnectedCredentials
from onrecord.oauth.client import OAuthClient
from proxy.imap.own_login import MailboxCredentials
from proxy.mailbox_login import CredentialsUnavailable, MailboxClosed
from store.database import Database
from store.mailbox_secret import Tokens
from store.mailbox_state import MailboxState
from store.mailboxes import Mailboxes
from store.sealing import Sealer, SealingError, SealingKey

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def server() -> AsyncIterator[OAuthServer]:
    async with OAuthServer() as running:
        yield running


class Process:
    """A process of ours: its own credentials on a store that others have too."""

    def __init__(self, stored: Any, server: OAuthServer, database: Database | None = None) -> None:
        self.slept: list[float] = []
        self.on_sleep: Any = None
        sealer = Sealer(lambda: stored.keys)
        self.mailboxes = Mailboxes(database or stored.database, sealer, clock=stored.clock)
        client = OAuthClient({"own": server.issuer()}, lambda name: None, clock=stored.clock)
        self.source = ConnectedCredentials(self.mailboxes, client, clock=stored.clock, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self.on_sleep is not None:
            self.on_sleep()
        await asyncio.sleep(0)


async def connected(stored: Any, server: OAuthServer, *, left: float = -1) -> int:
    """A mailbox whose token ends in so many seconds, and is to be renewed 300 before; its id."""
    refresh = server.grant()
    ends = stored.clock.now + left
    tokens = Tokens(
        access=Secret(b"access-of-old"), refresh=Secret(refresh.encode()), stale_at=ends - 300, expires_at=ends
    )
    record = await stored.connect(secret=tokens, issuer="own", mechanism="XOAUTH2")
    return int(record.id)


def opens(credentials: MailboxCredentials, server: OAuthServer) -> bool:
    return credentials.secret.reveal().decode() in server.issued


class TestGivingThem:
    async def test_a_password_is_given_as_it_is(self, stored: Any, server: OAuthServer) -> None:
        record = await stored.connect(login="ann")
        given = await Process(stored, server).source.credentials(record.id)
        assert (given.login, given.mechanism, given.secret.reveal()) == ("ann", "PLAIN", b"hunter2")
        assert given.mailbox == record.id
        assert "hunter2" not in repr(given)

    async def test_a_token_that_is_good_is_given_without_asking(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server, left=301)
        given = await Process(stored, server).source.credentials(mailbox)
        assert (given.mechanism, given.secret.reveal()) == ("XOAUTH2", b"access-of-old")
        assert server.requests == []

    @pytest.mark.parametrize("left", [300, 1, -1, -1e9])
    async def test_one_that_is_about_to_end_is_renewed_before(
        self, stored: Any, server: OAuthServer, left: float
    ) -> None:
        mailbox = await connected(stored, server, left=left)
        assert opens(await Process(stored, server).source.credentials(mailbox), server)
        assert len(server.forms()) == 1

    async def test_a_mailbox_that_is_not_connected_is_closed(self, stored: Any, server: OAuthServer) -> None:
        with pytest.raises(MailboxClosed, match="mailbox 7 is not connected"):
            await Process(stored, server).source.credentials(7)

    async def test_without_its_key_it_can_be_had_again_later(self, stored: Any, server: OAuthServer) -> None:
        record = await stored.connect()
        keys = list(stored.keys)
        stored.keys[:] = [SealingKey.make()]
        process = Process(stored, server)
        with pytest.raises(CredentialsUnavailable, match="backup"):
            await process.source.credentials(record.id)
        stored.keys[:] = keys
        assert (await process.source.credentials(record.id)).secret.reveal() == b"hunter2"


class TestOneRenewal:
    async def test_all_who_ask_at_once_share_one_request(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        process = Process(stored, server)
        server.gate.clear()
        asking = [asyncio.ensure_future(process.source.credentials(mailbox)) for _ in range(50)]
        await server.arrived.wait()
        server.gate.set()
        given = await asyncio.gather(*asking)
        assert len(server.forms()) == 1
        assert len({each.secret.reveal() for each in given}) == 1
        assert opens(given[0], server)

    async def test_two_processes_share_one_request_too(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        url = str(stored.database.pool.url.render_as_string()).replace("+aiosqlite", "")
        other_database = await Database.open(url, migrate_first=False)
        one, other = Process(stored, server), Process(stored, server, other_database)
        looked = asyncio.Event()
        other.on_sleep = looked.set
        server.gate.clear()
        first = asyncio.ensure_future(one.source.credentials(mailbox))
        await server.arrived.wait()
        second = asyncio.ensure_future(other.source.credentials(mailbox))
        async with asyncio.timeout(30):  # one that does not wait for the other never looks
            await looked.wait()
        server.gate.set()
        given = await asyncio.gather(first, second)
        await other_database.close()
        assert len(server.forms()) == 1
        assert given[0].secret.reveal() == given[1].secret.reveal()
        assert not server.grants[0].is_over

    async def test_mailboxes_do_not_wait_for_each_other(self, stored: Any, server: OAuthServer) -> None:
        mine = await connected(stored, server)
        yours = await stored.connect("bob@acme.example")
        process = Process(stored, server)
        server.gate.clear()
        waiting = asyncio.ensure_future(process.source.credentials(mine))
        await server.arrived.wait()
        assert (await process.source.credentials(yours.id)).secret.reveal() == b"hunter2"
        assert not waiting.done()
        server.gate.set()
        assert opens(await waiting, server)

    async def test_one_who_no_longer_waits_takes_it_from_nobody(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        process = Process(stored, server)
        server.gate.clear()
        asking = [asyncio.ensure_future(process.source.credentials(mailbox)) for _ in range(3)]
        await server.arrived.wait()
        asking[0].cancel()
        asking[2].cancel()
        server.gate.set()
        assert opens(await asking[1], server)
        assert len(server.forms()) == 1
        for each in (asking[0], asking[2]):
            with pytest.raises(asyncio.CancelledError):
                await each

    async def test_a_failure_is_shared_as_well(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        process = Process(stored, server)
        server.answers.append((503, b""))
        server.gate.clear()
        asking = [asyncio.ensure_future(process.source.credentials(mailbox)) for _ in range(10)]
        await server.arrived.wait()
        server.gate.set()
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            assert isinstance(outcome, CredentialsUnavailable)
        assert len(server.forms()) == 1

    async def test_tokens_that_end_at_once_are_not_asked_for_without_end(
        self, stored: Any, server: OAuthServer
    ) -> None:
        server.lifetime = 0
        mailbox = await connected(stored, server)
        process = Process(stored, server)
        for number in range(1, 4):
            assert opens(await process.source.credentials(mailbox), server)
            stored.clock.now += 10
            assert len(server.forms()) == number


class TestStoringIt:
    async def test_the_next_refresh_token_is_stored_before_the_access_token_is_given(
        self, stored: Any, server: OAuthServer
    ) -> None:
        mailbox = await connected(stored, server)
        given = await Process(stored, server).source.credentials(mailbox)
        held = await stored.mailboxes.held(mailbox)
        assert held.secret.access.reveal() == given.secret.reveal()
        assert held.secret.refresh.reveal().decode() == server.grants[0].refresh
        assert given.version == held.version

    async def test_it_goes_on_for_many_rounds(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        for number in range(1, 6):
            assert opens(await Process(stored, server).source.credentials(mailbox), server)
            assert len(server.forms()) == number
            stored.clock.now += 3600
        assert not server.grants[0].is_over

    async def test_an_end_while_the_answer_is_on_its_way_loses_it_not(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        server.gate.clear()
        asking = asyncio.ensure_future(Process(stored, server).source.credentials(mailbox))
        await server.arrived.wait()
        asking.cancel()
        server.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert opens(await Process(stored, server).source.credentials(mailbox), server)
        assert len(server.forms()) == 1

    async def test_what_cannot_be_stored_now_is_not_used_and_not_forgotten(
        self, stored: Any, server: OAuthServer
    ) -> None:
        mailbox = await connected(stored, server)
        process = Process(stored, server)
        keys = stored.keys
        server.gate.clear()
        asking = asyncio.ensure_future(process.source.credentials(mailbox))
        await server.arrived.wait()
        stored.keys = Away()
        server.gate.set()
        with pytest.raises(CredentialsUnavailable, match="the keys are away"):
            await asking
        assert process.slept == [0.5, 1.0, 2.0, 4.0, 8.0]
        stored.keys = keys
        assert opens(await process.source.credentials(mailbox), server)
        assert len(server.forms()) == 1

    @pytest.mark.parametrize("rotates", [False, True])
    async def test_a_process_that_dies_with_the_answer_leaves_its_claim_and_the_old_token(
        self, stored: Any, server: OAuthServer, rotates: bool
    ) -> None:
        """Where refresh tokens may be used again, as at Google and Microsoft, nothing is lost; else it is told."""
        server.rotates = rotates
        mailbox = await connected(stored, server)
        (stored.folder / "key").write_text(stored.keys[0].text())
        server.gate.clear()
        dying = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASKER, str(next(stored.folder.glob("*.sqlite"))), str(stored.folder / "key"),
            server.issuer().model_dump_json(), str(mailbox), str(stored.clock.now), cwd=ROOT,
        )  # fmt: skip
        await server.arrived.wait()
        dying.kill()
        await dying.wait()
        server.gate.set()
        process = Process(stored, server)

        def pass_time() -> None:
            stored.clock.now += 1

        process.on_sleep = pass_time
        if rotates:
            with pytest.raises(MailboxClosed, match="invalid_grant"):
                await process.source.credentials(mailbox)
        else:
            assert opens(await process.source.credentials(mailbox), server)
        assert len(server.forms()) == 2
        assert len(process.slept) == 120  # until the claim of the dead is over


class Away(list[SealingKey]):
    """Keys that cannot be read now."""

    def __getitem__(self, index: Any) -> Any:
        raise SealingError("the keys are away")


ASKER = textwrap.dedent(
    """
    import asyncio, sys
    from onrecord.mailbox_credentials import ConnectedCredentials
    from onrecord.oauth.client import OAuthClient
    from onrecord.oauth.issuer import Issuer
    from store.database import Database
    from store.mailboxes import Mailboxes
    from store.sealing import Sealer, SealingKey

    async def main():
        path, key, issuer, mailbox, now = sys.argv[1:]
        database = await Database.open(f"sqlite:///{path}", migrate_first=False)
        keys = [SealingKey.parse(open(key).read())]
        clock = lambda: float(now)
        mailboxes = Mailboxes(database, Sealer(lambda: keys), clock=clock)
        client = OAuthClient({"own": Issuer.model_validate_json(issuer)}, lambda name: None, clock=clock)
        await ConnectedCredentials(mailboxes, client, clock=clock).credentials(int(mailbox))

    asyncio.run(main())
    """
)


class TestTroubles:
    async def test_a_consent_that_was_taken_back_needs_its_user(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        server.grants[0].is_over = True
        process = Process(stored, server)
        with pytest.raises(MailboxClosed, match="own answers invalid_grant: The consent is over"):
            await process.source.credentials(mailbox)
        record = (await stored.mailboxes.held(mailbox)).record
        assert record.state is MailboxState.NEEDS_RECONNECT
        assert record.trouble == "own answers invalid_grant: The consent is over."
        with pytest.raises(MailboxClosed):
            await process.source.credentials(mailbox)
        assert len(server.forms()) == 1  # nobody asks again in vain

    async def test_connecting_it_again_opens_it(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        server.grants[0].is_over = True
        process = Process(stored, server)
        with pytest.raises(MailboxClosed):
            await process.source.credentials(mailbox)
        assert await connected(stored, server) == mailbox
        assert opens(await process.source.credentials(mailbox), server)

    async def test_a_passing_trouble_is_noted_and_tried_again(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        process = Process(stored, server)
        server.answers.append((503, b""))
        with pytest.raises(CredentialsUnavailable, match="own answers 503"):
            await process.source.credentials(mailbox)
        record = (await stored.mailboxes.held(mailbox)).record
        assert (record.state, record.trouble) == (MailboxState.OK, "own answers 503")
        given = await process.source.credentials(mailbox)
        await process.source.worked(given)
        assert (await stored.mailboxes.held(mailbox)).record.trouble is None

    async def test_while_the_old_token_lasts_an_issuer_may_be_away(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server, left=200)
        process = Process(stored, server)
        server.answers += [(503, b"")] * 2
        assert (await process.source.credentials(mailbox)).secret.reveal() == b"access-of-old"
        stored.clock.now += 201
        with pytest.raises(CredentialsUnavailable):
            await process.source.credentials(mailbox)

    async def test_an_issuer_that_does_not_answer_is_waited_for_only_so_long(
        self, stored: Any, server: OAuthServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.mailbox_credentials.EXCHANGE_SECONDS", 0.05)
        mailbox = await connected(stored, server)
        server.gate.clear()
        with pytest.raises(CredentialsUnavailable, match="own does not answer in time"):
            await Process(stored, server).source.credentials(mailbox)
        assert (await stored.mailboxes.held(mailbox)).record.trouble == "own does not answer in time"

    async def test_a_store_that_is_locked_is_a_passing_trouble(self, stored: Any, server: OAuthServer) -> None:
        record = await stored.connect()
        process = Process(stored, server)
        given = await process.source.credentials(record.id)
        connection = sqlite3.connect(next(stored.folder.glob("*.sqlite")), isolation_level=None)
        connection.execute("begin immediate")
        with pytest.raises(CredentialsUnavailable, match="does not answer"):
            await process.source.refused(given, "no")
        connection.execute("rollback")
        connection.close()
        assert not await process.source.refused(given, "no")

    async def test_wrong_settings_do_not_cost_the_consent(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server)
        process = Process(stored, server)
        server.client_id = "another"
        with pytest.raises(CredentialsUnavailable, match="see client_id"):
            await process.source.credentials(mailbox)
        assert (await stored.mailboxes.held(mailbox)).record.state is MailboxState.OK


class TestRefusedByTheServer:
    async def test_a_token_is_renewed_once_and_then_its_user_is_needed(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server, left=3000)
        process = Process(stored, server)
        first = await process.source.credentials(mailbox)
        assert await process.source.refused(first, "[AUTHENTICATIONFAILED] no")
        second = await process.source.credentials(mailbox)
        assert opens(second, server)
        assert not await process.source.refused(second, "[AUTHENTICATIONFAILED] still no")
        with pytest.raises(MailboxClosed, match="still no"):
            await process.source.credentials(mailbox)
        assert len(server.forms()) == 1

    async def test_one_that_worked_after_that_may_be_refused_again(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server, left=3000)
        process = Process(stored, server)
        for _ in range(3):
            given = await process.source.credentials(mailbox)
            assert await process.source.refused(given, "no")
            await process.source.worked(await process.source.credentials(mailbox))
        assert (await stored.mailboxes.held(mailbox)).record.state is MailboxState.OK

    async def test_two_sessions_that_are_refused_at_once_renew_once(self, stored: Any, server: OAuthServer) -> None:
        mailbox = await connected(stored, server, left=3000)
        process = Process(stored, server)
        given = await process.source.credentials(mailbox)
        assert [await process.source.refused(given, "no") for _ in range(2)] == [True, True]
        await process.source.credentials(mailbox)
        assert await process.source.refused(given, "no, and late")
        assert opens(await process.source.credentials(mailbox), server)
        assert len(server.forms()) == 1

    async def test_a_password_has_some_patience_with_its_server(self, stored: Any, server: OAuthServer) -> None:
        record = await stored.connect()
        process = Process(stored, server)
        for text in ("no 1", "no 2"):
            given = await process.source.credentials(record.id)
            assert not await process.source.refused(given, text)
            assert (await stored.mailboxes.held(record.id)).record.trouble == text
        await process.source.worked(given)
        for text in ("no 3", "no 4", "no 5"):
            assert (await stored.mailboxes.held(record.id)).record.state is MailboxState.OK
            await process.source.refused(given, text)
        with pytest.raises(MailboxClosed, match="no 5"):
            await process.source.credentials(record.id)

    async def test_a_password_that_was_replaced_meanwhile_is_not_blamed(self, stored: Any, server: OAuthServer) -> None:
        record = await stored.connect()
        process = Process(stored, server)
        given = await process.source.credentials(record.id)
        await stored.connect()
        for _ in range(5):
            assert await process.source.refused(given, "no")
        assert (await stored.mailboxes.held(record.id)).record.state is MailboxState.OK


async def test_no_token_is_in_a_log_an_error_a_record_or_a_file(stored: Any, server: OAuthServer) -> None:
    mailbox = await connected(stored, server)
    process = Process(stored, server)
    shown: list[str] = []
    with capture_logs() as logs:
        shown.append(repr(await process.source.credentials(mailbox)))
        stored.clock.now += 4000
        for status in (503, 400, 200):
            echo = server.grants[0].refresh
            server.answers.append((status, f'{{"error": "x", "error_description": "of {echo}"}}'.encode()))
            with pytest.raises(CredentialsUnavailable) as caught:
                await process.source.credentials(mailbox)
            shown += [str(caught.value), repr(caught.value.__cause__), repr(caught.value.__cause__.__cause__)]
        await process.source.credentials(mailbox)
        stored.clock.now += 4000
        server.grants[0].is_over = True
        with pytest.raises(MailboxClosed) as closed:
            await process.source.credentials(mailbox)
        shown.append(str(closed.value))
    shown += [repr(logs), repr(await stored.audit()), repr(vars(process.source))]
    connection = sqlite3.connect(next(stored.folder.glob("*.sqlite")))
    shown.append("\n".join(connection.iterdump()))
    connection.close()
    everything = "\n".join(shown).encode() + stored.octets()
    assert b"needs reconnect" in everything
    assert len(logs) >= 4
    for secret in (*server.issued, "access-of-old"):
        assert secret.encode() not in everything
        assert secret.encode().hex() not in "\n".join(shown).lower()
