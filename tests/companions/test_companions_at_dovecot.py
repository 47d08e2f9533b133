"""Companions at Dovecot, beside clients of the whole program: what comes is logged, and no secret is left behind."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from accompanied import Accompanied
from debian_peers import MAILBOX_DOMAIN, PASSWORD, bearer_token, need
from imap_client import ImapClient, plain_response
from mailbox_chain import RELAYED, MailboxChain, mailbox_chain
from observed_mailbox import Dovecots, message, provider_at
from pki import Pki

from proxy.observer import Rhythm

pytestmark = pytest.mark.peers

PATIENCE = 30.0
POLL = 0.02
BEGINS, ENDS = "a companion begins", "a companion ends"
LOGGED_IN = re.compile(r"imap-login: .*Login: user=<([^>]*)>.* mpid=([0-9]+)")


@pytest_asyncio.fixture
async def chain(pki: Pki, tmp_path: Path) -> AsyncIterator[MailboxChain]:
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    async with mailbox_chain(pki, tmp_path) as running:
        yield running


def _client(chain: MailboxChain, door: str = "implicit") -> ImapClient:
    return ImapClient(chain.port(RELAYED, door), context=chain.pki.client_context())


async def _until_logged(chain: MailboxChain, login: str, *subjects: str) -> None:
    """Waits for these records of a user; there are no others."""
    async with asyncio.timeout(PATIENCE):
        while len(chain.logged(login)) < len(subjects):
            await asyncio.sleep(POLL)
    assert set(chain.logged(login)) == {f"{each.replace(' ', '-')}@cust.example" for each in subjects}


async def _until_told(chain: MailboxChain, text: str, times: int = 1) -> None:
    async with asyncio.timeout(PATIENCE):
        while chain.served.log_text().count(text) < times:
            await asyncio.sleep(POLL)


async def _until_observed(chain: MailboxChain, login: str) -> None:
    """Progress in all folders is in the store, so that what comes from now on is found."""
    async with asyncio.timeout(PATIENCE):
        while len(chain.served.rows("select name from observed_folder where account = ?", login)) < 2:
            await asyncio.sleep(POLL)


async def _until_sessions(chain: MailboxChain, login: str, count: int) -> None:
    """Waits until Dovecot has so many of the login."""
    async with asyncio.timeout(PATIENCE):
        while (await chain.dovecot.doveadm("who", "-1", login)).count(login.encode()) != count:
            await asyncio.sleep(POLL)


async def _log_in(client: ImapClient, login: str, mechanism: str) -> None:
    await client.greet()
    match mechanism:
        case "LOGIN":
            answer = await client.enter(login)
        case "PLAIN":
            answer = await client.command(b"a AUTHENTICATE PLAIN " + plain_response(login))
        case "AUTHENTICATE LOGIN":
            await client.go_ahead(b"a AUTHENTICATE LOGIN")
            await client.go_ahead(base64.b64encode(login.encode()))
            client.send(base64.b64encode(PASSWORD.encode()) + b"\r\n")
            answer = await client.tagged(b"a")
        case _:
            token = f"user={login}\1auth=Bearer {bearer_token(login)}\1\1".encode()
            answer = await client.command(b"a AUTHENTICATE XOAUTH2 " + base64.b64encode(token))
    assert b" OK " in answer, answer


async def test_mail_that_no_client_reads_is_logged_and_no_secret_is_left(chain: MailboxChain) -> None:
    logins = {each: await chain.new_login() for each in ("LOGIN", "PLAIN", "AUTHENTICATE LOGIN", "XOAUTH2")}
    await asyncio.gather(*(_see_mail_logged(chain, login, mechanism) for mechanism, login in logins.items()))
    assert await chain.served.terminate() == 0
    secrets = [PASSWORD.encode(), base64.b64encode(PASSWORD.encode())]
    for login in logins.values():
        token = bearer_token(login)
        bearer = base64.b64encode(f"user={login}\1auth=Bearer {token}\1\1".encode())
        secrets += [token.encode(), bearer, plain_response(login)]
    files = [each for each in chain.served.folder.rglob("*") if each.is_file()]
    assert chain.served.data / "onrecord.sqlite" in files
    assert chain.served.folder / "serve.log" in files
    for path in files:
        assert not [each for each in secrets if each in path.read_bytes()], path


async def _see_mail_logged(chain: MailboxChain, login: str, mechanism: str) -> None:
    """What comes while the client idles, and what came in between when it is back; each is in the log."""
    async with _client(chain, "routed") as client:
        await _log_in(client, login, mechanism)
        await client.command(b"s SELECT INBOX")
        await client.go_ahead(b"i IDLE")
        await _until_observed(chain, login)
        names = [f"{each} of {login.partition('@')[0]}" for each in ("Offer", "Private", "Filed")]
        await chain.dovecot.deliver(login, message(names[0], to=login))
        await chain.dovecot.deliver(login, message(names[1], author="aunt@home.example", to=login))
        await _until_logged(chain, login, names[0])
        await _until_sessions(chain, login, 2)
        client.send(b"DONE\r\n")
        await client.tagged(b"i")
        await client.command(b"z LOGOUT")
    await _until_sessions(chain, login, 0)
    await chain.dovecot.deliver(login, message(names[2], to=login), "Sent")
    async with _client(chain, "routed") as client:
        await _log_in(client, login, mechanism)
        await _until_logged(chain, login, names[0], names[2])


async def test_clients_of_one_login_share_one_companion(chain: MailboxChain) -> None:
    login = await chain.new_login()
    async with _client(chain) as client:
        await client.begin(login)
        async with _client(chain) as other:
            await other.begin(login)
            await _until_observed(chain, login)
            await _until_sessions(chain, login, 3)
        await _until_sessions(chain, login, 2)
        await chain.dovecot.deliver(login, message("Offer", to=login))
        await _until_logged(chain, login, "Offer")
    await _until_sessions(chain, login, 0)
    assert (chain.served.log_text().count(BEGINS), chain.served.log_text().count(ENDS)) == (1, 1)


async def test_what_the_client_reads_and_the_companion_sees_is_logged_once(chain: MailboxChain) -> None:
    login = await chain.new_login()
    sent = message("Sent", author=login, to="kim@cust.example")
    async with _client(chain) as client:
        await client.begin(login)
        await _until_observed(chain, login)
        await client.command(b"s SELECT INBOX")
        client.send(b"a APPEND INBOX {%d+}\r\n" % len(sent) + sent + b"\r\n")
        assert b"a OK" in await client.tagged(b"a")
        await chain.dovecot.deliver(login, message("Offer", to=login))
        await client.command(b"n NOOP")
        await client.command(b"f FETCH 1:* BODY.PEEK[]")
        await _until_logged(chain, login, "Sent", "Offer")
        query = "select count(*) from decision where source = ? and decision = 'log'"
        async with asyncio.timeout(PATIENCE):
            for source in ("observer", "imap_proxy"):
                while chain.served.rows(query, source) != [(2,)]:
                    await asyncio.sleep(POLL)
    assert {name: direction for name, (direction, _) in chain.logged(login).items()} == {
        "Sent@cust.example": "outgoing",
        "Offer@cust.example": "incoming",
    }


async def test_what_came_while_the_program_was_dead_is_logged_once(chain: MailboxChain) -> None:
    login = await chain.new_login()
    async with _client(chain) as client:
        await client.begin(login)
        await _until_observed(chain, login)
        await chain.dovecot.deliver(login, message("Before", to=login))
        await _until_logged(chain, login, "Before")
        await chain.served.kill()
    await chain.dovecot.deliver(login, message("Meanwhile", to=login))
    await chain.served.start()
    async with _client(chain) as client:
        await client.begin(login)
        await _until_logged(chain, login, "Before", "Meanwhile")


async def test_companions_of_several_relay_processes_log_once(chain: MailboxChain) -> None:
    login = await chain.new_login()
    chain.served._environment["ONRECORD_WORKERS"] = "3"
    await chain.served.restart()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            client = await stack.enter_async_context(_client(chain))
            await client.begin(login)
        await _until_observed(chain, login)
        for number in range(5):
            await chain.dovecot.deliver(login, message(f"Number {number}", to=login))
        await _until_logged(chain, login, *(f"Number {number}" for number in range(5)))
        await chain.served.drained()
        await _until_logged(chain, login, *(f"Number {number}" for number in range(5)))
    await _until_sessions(chain, login, 0)
    told = chain.served.log_text()
    assert 1 <= told.count(BEGINS) == told.count(ENDS) <= 3


async def test_a_login_of_nobody_has_no_companion(chain: MailboxChain) -> None:
    strangers = [f"nobody-{uuid.uuid4()}@{MAILBOX_DOMAIN}", f"silent-{uuid.uuid4()}@{MAILBOX_DOMAIN}"]
    await chain.directory.add_user("P1", strangers[1], connected=[strangers[1]], personal_email_access=False)
    login = await chain.new_login()
    async with _client(chain) as client, _client(chain) as other, _client(chain) as third:
        await client.begin(strangers[0])
        await other.begin(strangers[1])
        await third.begin(login)
        await _until_sessions(chain, login, 2)
        for each in strangers:
            await _until_sessions(chain, each, 1)
    assert chain.served.log_text().count(BEGINS) == 1


async def test_a_changed_password_ends_it_until_a_client_says_the_new_one(chain: MailboxChain) -> None:
    login = await chain.new_login()
    async with _client(chain) as client:
        await client.begin(login)
        await _until_observed(chain, login)
        _set_password(chain, "another password")
        processes = [int(pid) for user, pid in LOGGED_IN.findall(chain.dovecot.log_text()) if user == login]
        assert len(processes) == 2
        os.kill(processes[1], signal.SIGTERM)  # the companion's: it logged in behind its client
        await _until_told(chain, "a mailbox refuses the login")
        await _until_told(chain, ENDS)
        await chain.dovecot.deliver(login, message("Meanwhile", to=login))
        assert b"OK" in await client.command(b"n NOOP")
        async with _client(chain) as other:
            await other.greet()
            assert b"login OK" in await other.enter(login, "another password")
            await _until_told(chain, BEGINS, 2)
            await _until_logged(chain, login, "Meanwhile")
    await _until_sessions(chain, login, 0)
    assert "another password" not in chain.served.log_text()


async def test_the_program_ends_in_time_with_companions_at_work(chain: MailboxChain) -> None:
    logins = [await chain.new_login() for _ in range(10)]
    clients = [_client(chain) for _ in logins]
    for client, login in zip(clients, logins, strict=True):
        await client.__aenter__()
        await client.begin(login)
    await _until_told(chain, BEGINS, len(logins))
    for login in logins:
        await _until_observed(chain, login)
    assert await chain.served.terminate() == 0
    for client in clients:
        assert b"* BYE [UNAVAILABLE] The relay is shutting down" in await client.rest()
        await client.__aexit__(None, None, None)
    for login in logins:
        await _until_sessions(chain, login, 0)
    told = chain.served.log_text()
    assert told.count(ENDS) == len(logins)
    assert "do not end and are killed" not in told


async def test_mail_in_another_folder_and_a_provider_that_was_away(pki: Pki, tmp_path: Path) -> None:
    """In one process with the test, where rounds are short: mail that a filter files, and a companion that comes back
    while its client is gone with the provider.
    """
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    ann = "ann@acme.example"
    async with Dovecots(pki) as dovecot:
        await dovecot.doveadm("mailbox", "create", "-u", ann, "Customers")
        async with Accompanied(tmp_path, provider_at(dovecot.imap_implicit_port, pki), pki) as relay:
            async with ImapClient(relay.port) as client:
                await client.begin(ann)
                await _until_read(relay, ann)
                await dovecot.deliver(ann, message("Filtered"), "Customers")
                await _until_emails(relay, "Filtered")
                await dovecot.kill()
                await relay.until(lambda: not len(relay.companions))
            await dovecot.start_again()
            await dovecot.deliver(ann, message("Meanwhile"), "Customers")
            async with ImapClient(relay.port) as client:
                await client.begin(ann)
                await _until_emails(relay, "Filtered", "Meanwhile")


async def test_a_client_may_make_and_remove_folders_in_one_breath(pki: Pki, tmp_path: Path) -> None:
    """Dovecot breaks off a session whose folder another session opens between; the companion keeps away."""
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    ann = "ann@acme.example"
    hurried = Rhythm(answer=20.0, round=0.001, first_pause=0.0, longest_pause=0.0)
    async with (
        Dovecots(pki) as dovecot,
        Accompanied(tmp_path, provider_at(dovecot.imap_implicit_port, pki), pki, rhythm=hurried) as relay,
        ImapClient(relay.port) as client,
    ):
        await client.begin(ann)
        await relay.until(lambda: any(each["event"] == "a companion begins" for each in relay.log))
        for _ in range(400):
            for command in (
                b"CREATE Offers",
                b"SELECT Offers",
                b"APPEND Offers {14+}\r\nSubject: x\r\n\r\n",
                b"SEARCH TEXT x",
                b"CLOSE",
                b"DELETE Offers",
            ):
                answer = await client.command(b"a " + command)
                assert b"a OK" in answer, answer
        await dovecot.deliver(ann, message("Offer"))
        await _until_emails(relay, "Offer")


class _Narrow(Dovecots):
    """Dovecot that bears two sessions of a login."""

    def _service(self) -> str:
        return super()._service().replace("mail_max_userip_connections = 0", "mail_max_userip_connections = 2")


async def test_a_companion_leaves_its_place_to_a_client(pki: Pki, tmp_path: Path) -> None:
    need("dovecot", "doveadm", "/usr/lib/dovecot/imap", root=True)
    ann = "ann@acme.example"
    async with (
        _Narrow(pki) as dovecot,
        Accompanied(tmp_path, provider_at(dovecot.imap_implicit_port, pki), pki) as relay,
        ImapClient(relay.port) as client,
    ):
        await client.begin(ann)
        await relay.until(lambda: any(each["event"] == "a companion begins" for each in relay.log))
        async with asyncio.timeout(PATIENCE):
            while not await relay.companions._observed.progress("mail", ann):
                await asyncio.sleep(POLL)
        async with ImapClient(relay.port) as other:
            await other.greet()
            assert b"login NO [LIMIT]" in await other.enter(ann)
        async with asyncio.timeout(PATIENCE):
            while not await _is_let_in(relay.port, ann):
                await asyncio.sleep(POLL)
        assert b"OK" in await client.command(b"n NOOP")


async def _is_let_in(port: int, login: str) -> bool:
    async with ImapClient(port) as client:
        await client.greet()
        return b"login OK" in await client.enter(login)


async def _until_read(relay: Accompanied, account: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while "Customers" not in await relay.companions._observed.progress("mail", account):
            await asyncio.sleep(POLL)


async def _until_emails(relay: Accompanied, *subjects: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(emails := await relay.emails()) < len(subjects):
            await asyncio.sleep(POLL)
    assert sorted(each.subject for each in emails) == sorted(subjects)


def _set_password(chain: MailboxChain, password: str) -> None:
    """Dovecot reads the file again when it is another one."""
    path = chain.dovecot.folder / "domains"
    other = path.with_name("domains.new")
    other.write_text(f"{MAILBOX_DOMAIN}:{{PLAIN}}{password}::::::\n")
    other.rename(path)
