"""The listener that takes mail for capture addresses from other servers: it is for the log, and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from dns_zone import DnsZone
from in_process import InProcess
from pki import Pki
from recording_provider import RecordingProvider
from rows import octets_of, rows
from served import Served
from signer import Signer
from smtp_client import Client

from proxy.limits import CapturePolicy, Limits
from proxy.route import Listener, ListenerKind, Tls
from store.entry import Entry, EntryKind
from store.spool_reader import open_readers

BCC, FORWARD = b"log-p1@cap.example", b"fwd-p1@cap.example"
CLEAR = Listener(kind=ListenerKind.CAPTURE, tls=Tls.NONE)
SMUGGLING = rows(__file__, "../attacks/smuggling.txt", 3)
PATHS = rows(__file__, "../attacks/open_relay.txt", 1)
# The same tricks with the name that is ours to take.
OWN_PATHS = [
    b"u%victim.example@cap.example", b'"u@victim.example"@cap.example', b"@cap.example:u@victim.example",
    b"@victim.example:log-p1@cap.example", b"victim.example!log-p1@cap.example", b"log-p1@cap.example@victim.example",
    b"log-p1%cap.example@victim.example", b"log-p1@[127.0.0.1]", b"log-p1", b"log-p1@cap.example.victim.example",
    b"log-p1@c\xd0\xb0p.example", b"postmaster@cap.example", b"ann@acme.example", b"kim@cust.example",
]  # fmt: skip
UNKNOWN = b"550 5.1.1 There is no such recipient here\r\n"
LOGGED = b"250 2.6.0 Taken for the log\r\n"
MAIL = (
    b"From: Ann <ann@acme.example>\r\nTo: kim@cust.example\r\nDate: Tue, 3 Feb 2026 10:00:00 +0000\r\n"
    b"Message-ID: <1@acme.example>\r\nSubject: x\r\n\r\nhello\r\n"
)


def listening(
    folder: Path, provider: RecordingProvider, *, listener: Listener = CLEAR, pki: Pki | None = None, **more: object
) -> InProcess:
    """A relay whose only door is a capture listener; the provider is there to hear nothing."""
    return InProcess(folder, [provider], pki=pki, listeners=[listener], **more)  # type: ignore[arg-type]


class TestItIsNoRelay:
    """Attacks on what takes mail from anybody: who gets some of it out again?"""

    @pytest.mark.parametrize("text", PATHS)
    async def test_no_form_of_a_path_is_taken(self, tmp_path: Path, text: str) -> None:
        await self.refuses(tmp_path, octets_of(text)[1:-1])

    @pytest.mark.parametrize("path", OWN_PATHS)
    async def test_no_form_with_a_name_of_ours_is_taken(self, tmp_path: Path, path: bytes) -> None:
        await self.refuses(tmp_path, path)

    async def refuses(self, folder: Path, path: bytes) -> None:
        async with (
            RecordingProvider(mechanisms=()) as provider,  # a provider that would take mail from anybody
            listening(folder, provider) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            for sender in (b"", b"ann@acme.example", b"log-p1@cap.example"):
                assert (await client.say(b"MAIL FROM:<" + sender + b">\r\n")).startswith(b"250")
                assert await client.say(b"RCPT TO:<" + path + b">\r\n") == UNKNOWN
                assert (await client.say(b"DATA\r\n")).startswith(b"503")
                await client.say(b"RSET\r\n")
            assert provider.connections == 0
            assert await relay.decisions() == []

    async def test_what_is_refused_costs_no_other_recipient(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(b"MAIL FROM:<a@b.example>\r\n")
            client.send(b"".join(b"RCPT TO:<" + each + b">\r\n" for each in (b"kim@cust.example", BCC, b"x@y.example")))
            assert await client.replies(4) == [b"250 2.1.0 Ok\r\n", UNKNOWN, b"250 2.1.5 Recipient ok\r\n", UNKNOWN]
            await client.say(b"DATA\r\n")
            assert await client.say(MAIL + b".\r\n") == LOGGED
            assert provider.connections == 0

    async def test_nobody_logs_in(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider) as relay,
            Client(relay.port) as client,
        ):
            assert b"AUTH" not in await client.greet()
            for line in (b"AUTH PLAIN AGFubgBw", b"AUTH LOGIN", b"XCLIENT ADDR=127.0.0.1", b"EXPN log-p1", b"ETRN x"):
                assert (await client.say(line + b"\r\n")).startswith(b"502")
            answers = {await client.say(b"VRFY " + each + b"\r\n") for each in (b"log-p1@cap.example", b"nobody")}
            assert len(answers) == 1
            assert provider.connections == 0

    async def test_a_submission_listener_beside_it_still_wants_a_login(self, tmp_path: Path) -> None:
        listeners = [CLEAR, Listener(tls=Tls.NONE, provider="provider")]
        async with RecordingProvider() as provider, InProcess(tmp_path, [provider], listeners=listeners) as relay:
            async with Client(relay.ports[1]) as client:
                await client.greet()
                assert (await client.say(b"MAIL FROM:<a@b.example>\r\n")).startswith(b"530")
            async with Client(relay.ports[0]) as client:
                await client.greet()
                await client.address(BCC, sender=b"a@b.example")


class TestSmuggling:
    """What some server takes for an end of data makes no second message here either."""

    @pytest.mark.parametrize(("text", "strict", "normalize"), SMUGGLING)
    async def test_row(self, tmp_path: Path, text: str, strict: str, normalize: str) -> None:
        smuggled = (
            b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<" + FORWARD + b">\r\nDATA\r\nSubject: smuggled\r\n\r\nhi\r\n"
        )
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            await client.address(BCC, sender=b"ann@acme.example")
            await client.say(b"DATA\r\n")
            client.send(MAIL + b"body" + octets_of(text) + smuggled + b".\r\nQUIT\r\n")
            answer = await client.rest()
            if strict == "refused":
                assert answer.startswith(b"550 5.6.11 ")
                assert answer.count(b"\r\n") == 1
                assert await relay.decisions() == []
            else:
                assert answer == LOGGED + b"221 2.0.0 Bye\r\n"
                assert len(await relay.decisions()) == 1
            assert provider.connections == 0


class TestMailFromOutside:
    async def test_is_kept_as_it_came_whoever_sent_it(self, tmp_path: Path) -> None:
        mail = b"From: kim@cust.example\r\nSubject: no date, no id\r\n\r\n..\r\n"
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            await client.address(BCC, sender=b"")
            await client.say(b"DATA\r\n")
            assert await client.say(mail + b".\r\n") == LOGGED
            (entry,) = [each for each in entries(relay) if each.kind is EntryKind.MESSAGE]
            assert entry.content == mail
            assert entry.facts["source"] == "bcc"
            assert entry.facts["login"] is None
            assert entry.facts["captures"] == ["log-p1@cap.example"]
            assert entry.facts["decisions"] is None
            assert entry.facts["recipients"] == []
            assert entry.facts["reverse_path"] == ""
            assert await relay.emails() == []
            (decision,) = await relay.decisions()
            assert decision.value["reason"] == "capture_sender_not_user"
            assert provider.connections == 0

    async def test_is_logged_when_its_author_is_proven(self, tmp_path: Path) -> None:
        signer = Signer("acme.example")
        signed = signer.sign(MAIL)
        with DnsZone(signer.records) as zone:
            async with (
                RecordingProvider() as provider,
                listening(tmp_path, provider, nameservers=(zone.server,)) as relay,
                Client(relay.port) as client,
            ):
                await client.greet()
                await client.address(BCC, sender=b"bounce@acme.example")
                client.send(b"BDAT %d\r\n" % len(signed) + signed + b"BDAT 0 LAST\r\n")
                assert await client.replies(2) == [b"250 2.0.0 %d octets taken\r\n" % len(signed), LOGGED]
                (email,) = await relay.emails()
                assert await relay.raw(email) == signed
                (decision,) = await relay.decisions()
                assert (decision.value["reason"], decision.value["source"]) == ("bcc_address", "bcc")
                assert decision.value["user"][1] == "ann@acme.example"

    async def test_is_not_logged_when_nothing_proves_it(self, tmp_path: Path) -> None:
        with DnsZone({}) as zone:
            async with (
                RecordingProvider() as provider,
                listening(tmp_path, provider, nameservers=(zone.server,)) as relay,
                Client(relay.port) as client,
            ):
                await client.greet()
                await client.address(BCC, sender=b"ann@acme.example")
                await client.say(b"DATA\r\n")
                assert await client.say(MAIL + b".\r\n") == LOGGED  # who asks must not learn who is a user
                assert await relay.emails() == []
                (decision,) = await relay.decisions()
                assert decision.value["reason"] == "capture_sender_unverified"

    @pytest.mark.parametrize("policy", list(CapturePolicy))
    async def test_is_refused_for_now_when_it_cannot_be_made_durable(
        self, tmp_path: Path, policy: CapturePolicy
    ) -> None:
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider, policy=policy) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            await client.address(BCC, sender=b"ann@acme.example")
            await client.say(b"DATA\r\n")
            spool = tmp_path / "spool"
            spool.rename(tmp_path / "elsewhere")
            spool.write_text("a file where the folder should be")
            assert (await client.say(MAIL + b".\r\n")).startswith(b"451 4.3.0 ")
            spool.unlink()
            assert await relay.gaps() == []

    async def test_is_asked_to_come_again_while_nobody_knows_whose_it_is(self, tmp_path: Path) -> None:
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider, opens=False) as relay,
            Client(relay.port) as client,
        ):
            async with relay.database.write() as connection:
                await connection.exec_driver_sql("alter table directory_version rename to away")
            await relay.open()
            await client.greet()
            await client.say(b"MAIL FROM:<a@b.example>\r\n")
            for path in (BCC, b"kim@cust.example"):
                assert (await client.say(b"RCPT TO:<" + path + b">\r\n")).startswith(b"451 4.3.0 ")
            async with relay.database.write() as connection:
                await connection.exec_driver_sql("alter table away rename to directory_version")

    async def test_is_bounded_as_all_mail_is(self, tmp_path: Path) -> None:
        limits = Limits(message=1000, recipients=2, connections_per_address=1)
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider, limits=limits) as relay,
            Client(relay.port) as client,
        ):
            assert b"SIZE 1000\r\n" in await client.greet()
            assert (await client.say(b"MAIL FROM:<a@b.example> SIZE=1001\r\n")).startswith(b"552")
            await client.address(BCC, FORWARD, sender=b"a@b.example")
            assert (await client.say(b"RCPT TO:<" + BCC + b">\r\n")).startswith(b"452")
            async with Client(relay.port) as other:
                assert (await other.rest()).startswith(b"421 4.7.0")
            await client.say(b"DATA\r\n")
            client.send(b"x" * 100 + b"\r\n" + b"y" * 1000 + b"\r\n.\r\n")
            assert (await client.rest()).startswith(b"552")
            assert await relay.decisions() == []


class TestTls:
    """RFC 3207: offered; a server that is the MX of a domain must not insist."""

    async def test_is_offered_and_used(self, tmp_path: Path, pki: Pki) -> None:
        listener = Listener(kind=ListenerKind.CAPTURE, tls=Tls.STARTTLS)
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider, listener=listener, pki=pki) as relay,
            Client(relay.port) as client,
        ):
            offered = await client.greet()
            assert b"STARTTLS\r\n" in offered
            await client.address(BCC, sender=b"a@b.example")
            await client.start_tls(pki.client_context())
            assert (await client.say(b"RCPT TO:<" + BCC + b">\r\n")).startswith(b"503")
            offered = await client.say(b"EHLO mx.example\r\n")
            assert b"STARTTLS" not in offered
            for keyword in (b"SIZE", b"8BITMIME", b"SMTPUTF8", b"PIPELINING", b"ENHANCEDSTATUSCODES", b"CHUNKING"):
                assert keyword in offered
            await client.address(BCC, sender=b"a@b.example")
            await client.say(b"DATA\r\n")
            assert await client.say(MAIL + b".\r\n") == LOGGED

    async def test_what_is_sent_behind_starttls_ends_it(self, tmp_path: Path, pki: Pki) -> None:
        listener = Listener(kind=ListenerKind.CAPTURE, tls=Tls.STARTTLS)
        async with (
            RecordingProvider() as provider,
            listening(tmp_path, provider, listener=listener, pki=pki) as relay,
            Client(relay.port) as client,
        ):
            await client.greet()
            client.send(b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n")
            assert await client.rest() == b""


class TestTheProgram:
    async def test_takes_mail_from_another_server_to_a_record(self, tmp_path: Path, pki: Pki) -> None:
        signer = Signer("acme.example")
        listeners = [{"kind": "capture", "tls": "starttls"}, {}]
        with DnsZone(signer.records) as zone:
            settings = {"dns": {"nameservers": [zone.server]}}
            async with (
                RecordingProvider() as provider,
                Served(tmp_path, pki, providers=[provider], listeners=listeners, settings=settings) as served,
            ):
                async with Client(served.port) as client:
                    await client.greet()
                    await client.start_tls(pki.client_context())
                    await client.say(b"EHLO mx.example\r\n")
                    await client.address(BCC, sender=b"ann@acme.example")
                    await client.say(b"DATA\r\n")
                    assert await client.say(signer.sign(MAIL) + b".\r\n") == LOGGED
                async with Client(served.ports[1]) as client:
                    await client.begin()
                    assert await client.submit(MAIL.replace(b"<1@", b"<2@").replace(b": x", b": y"), BCC) == LOGGED
                await served.drained()
                found = served.rows("select distinct email, source from capture where source = 'bcc' order by email")
                assert found == [(1, "bcc"), (2, "bcc")]
                assert served.rows("select count(*) from email") == [(2,)]
                assert provider.messages == []

    @pytest.mark.parametrize("listener", ["capture", "submission"])
    async def test_keeps_what_it_has_taken_though_it_is_killed(self, tmp_path: Path, pki: Pki, listener: str) -> None:
        """Nobody else has the message: after our 250 its client forgets it."""
        signer = Signer("acme.example")
        with DnsZone(signer.records) as zone:
            settings = {"dns": {"nameservers": [zone.server]}}
            tables = [{"kind": listener}]
            async with (
                RecordingProvider() as provider,
                Served(tmp_path, pki, providers=[provider], listeners=tables, settings=settings) as served,
            ):
                async with Client(served.port) as client:
                    await (client.greet() if listener == "capture" else client.begin())
                    for number in range(20):
                        mail = signer.sign(MAIL.replace(b"<1@", b"<%d@" % number).replace(b": x", b": %d" % number))
                        assert await client.submit(mail, BCC) == LOGGED
                    await served.kill()
                await served.restart()
                await served.drained()
                assert served.rows("select count(*), count(distinct message_id) from email") == [(20, 20)]
                assert provider.messages == []


def entries(relay: InProcess) -> list[Entry]:
    """What lies in the spool."""
    found: list[Entry] = []
    for reader in open_readers(relay.folder / "spool"):
        found += [entry for _, entry in reader.read(0, rows=100, octets=10**7)]
        reader.close()
    return found
