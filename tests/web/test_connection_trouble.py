"""Why a mail program cannot connect, found out at the relay itself, at other servers, and where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop
from client_servers import listener, table
from pki import Pki
from ports import free_port
from recording_provider import RecordingProvider
from scripted_mailbox import ScriptedMailbox
from served import Served

from certs import client_context
from onrecord.settings import load
from onrecord.web.autoconfig import Diagnosis, Finding, Patience, Server, diagnose, servers
from proxy.route import ProviderKind, Tls

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMPATIENT = Patience(connect=0.3, greeting=0.3, answer=0.3)  # for who stays silent however long one waits
UNASKED = Patience(greeting=0.3)  # for who says nothing before a handshake or a question, and then is not hurried
SMTP, IMAP = ProviderKind.SUBMISSION, ProviderKind.IMAP
STARTTLS, IMPLICIT, NONE = Tls.STARTTLS, Tls.IMPLICIT, Tls.NONE
RELAY_LISTENERS = [
    {"provider": "provider", "tls": "starttls"},
    {"provider": "provider", "tls": "implicit"},
    {"provider": "mailbox", "kind": "imap", "tls": "starttls"},
    {"provider": "mailbox", "kind": "imap", "tls": "implicit"},
]


@pytest.fixture(scope="module")
def trust(pki: Pki) -> ssl.SSLContext:
    """The authorities of who knows our own one."""
    return client_context(pki.ca_file)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Server, ...]]:
    """The table of a relay that runs, from its own settings."""
    folder = tmp_path_factory.mktemp("relay")
    async with (
        RecordingProvider() as provider,
        ScriptedMailbox() as mailbox,
        Served(
            folder,
            pki,
            providers=[provider, mailbox.table() | {"name": "mailbox"}],
            listeners=RELAY_LISTENERS,
        ) as served,
    ):
        yield servers(load(served.config))


def _row(port: int, tls: Tls = STARTTLS, kind: ProviderKind = SMTP) -> Server:
    """The row of a listener on this machine; it is called localhost."""
    (row,) = table(listener(port, tls, kind=kind.value, address="127.0.0.1"))
    return row


def _of(rows: Sequence[Server], kind: ProviderKind, tls: Tls) -> Server:
    (row,) = (each for each in rows if (each.kind, each.tls) == (kind, tls))
    return row


@contextlib.asynccontextmanager
async def _says(words: bytes, *, context: ssl.SSLContext | None = None, closes: bool = False) -> AsyncIterator[int]:
    """The port of a server that says this and no more, whatever it hears."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(words)
            while not closes and await reader.read(1024):
                pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.contextmanager
def _web_server(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of Python's own web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # who speaks no HTTP is why it is here

    with Server(("127.0.0.1", 0), Quiet) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class TestAtTheRelay:
    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT])
    @pytest.mark.parametrize("kind", [SMTP, IMAP])
    async def test_what_the_table_says_is_well(
        self, relay: tuple[Server, ...], trust: ssl.SSLContext, kind: ProviderKind, tls: Tls
    ) -> None:
        row = _of(relay, kind, tls)
        diagnosis = await diagnose(row, trust=trust)
        assert diagnosis.is_well, diagnosis
        assert f"port {row.port} of localhost answers {row.protocol}" in diagnosis.text
        assert "from this machine only" in diagnosis.text

    @pytest.mark.parametrize("kind", [SMTP, IMAP])
    @pytest.mark.parametrize(
        ("there", "tried", "finding", "advice"),
        [
            (IMPLICIT, STARTTLS, Finding.STARTTLS_ON_IMPLICIT, "STARTTLS was tried on the implicit TLS port"),
            (STARTTLS, IMPLICIT, Finding.IMPLICIT_ON_STARTTLS, "choose “STARTTLS”"),
            (IMPLICIT, NONE, Finding.CLEAR_ON_IMPLICIT, "choose “SSL/TLS”"),
            (STARTTLS, NONE, Finding.CLEAR_ON_STARTTLS, "choose “STARTTLS”"),
        ],
    )
    async def test_the_wrong_kind_of_tls_is_named_with_the_right_one(
        self,
        relay: tuple[Server, ...],
        trust: ssl.SSLContext,
        kind: ProviderKind,
        there: Tls,
        tried: Tls,
        finding: Finding,
        advice: str,
    ) -> None:
        diagnosis = await diagnose(_of(relay, kind, there), tls=tried, trust=trust, patience=UNASKED)
        assert diagnosis.finding is finding, diagnosis
        assert advice in diagnosis.text

    @pytest.mark.parametrize("tried", [STARTTLS, IMPLICIT, NONE])
    @pytest.mark.parametrize("there", [STARTTLS, IMPLICIT])
    @pytest.mark.parametrize(("kind", "other"), [(SMTP, IMAP), (IMAP, SMTP)])
    async def test_the_wrong_protocol_is_named_whatever_the_kind_of_tls(
        self,
        relay: tuple[Server, ...],
        trust: ssl.SSLContext,
        kind: ProviderKind,
        other: ProviderKind,
        there: Tls,
        tried: Tls,
    ) -> None:
        row = _of(relay, kind, there)
        diagnosis = await diagnose(row, kind=other, tls=tried, trust=trust, patience=UNASKED)
        assert diagnosis.finding is Finding.OTHER_PROTOCOL, diagnosis
        wanted = {SMTP: "speaks SMTP, not IMAP. It is for sending", IMAP: "speaks IMAP, not SMTP. It is for reading"}
        assert wanted[kind] in diagnosis.text

    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT])
    async def test_an_authority_of_its_own_is_one_that_others_do_not_know(
        self, relay: tuple[Server, ...], tls: Tls
    ) -> None:
        diagnosis = await diagnose(_of(relay, SMTP, tls), trust=client_context(None))
        assert diagnosis.finding is Finding.UNKNOWN_AUTHORITY, diagnosis

    async def test_it_is_the_same_on_the_loop_that_the_program_uses(
        self, relay: tuple[Server, ...], trust: ssl.SSLContext
    ) -> None:
        async def all_of_them() -> list[Finding]:
            tried = [
                diagnose(_of(relay, IMAP, IMPLICIT), trust=trust),
                diagnose(_of(relay, IMAP, IMPLICIT), tls=STARTTLS, trust=trust, patience=UNASKED),
                diagnose(_of(relay, IMAP, STARTTLS), tls=IMPLICIT, trust=trust),
                diagnose(_of(relay, IMAP, STARTTLS), trust=client_context(None)),
                diagnose(_row(free_port()), trust=trust),
            ]
            return [(await each).finding for each in tried]

        def run() -> list[Finding]:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(all_of_them())

        assert await asyncio.to_thread(run) == [
            Finding.WELL,
            Finding.STARTTLS_ON_IMPLICIT,
            Finding.IMPLICIT_ON_STARTTLS,
            Finding.UNKNOWN_AUTHORITY,
            Finding.NOTHING_LISTENS,
        ]


class TestACertificate:
    async def _tried(self, pair: tuple[Path, Path], pki: Pki, trust: ssl.SSLContext, tls: Tls) -> Diagnosis:
        async with RecordingProvider(tls=tls, context=pki.server_context(*pair)) as server:
            return await diagnose(_row(server.port, tls), trust=trust)

    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT])
    async def test_for_another_name(self, pki: Pki, trust: ssl.SSLContext, tls: Tls) -> None:
        diagnosis = await self._tried(pki.issue("other.example"), pki, trust, tls)
        assert diagnosis.finding is Finding.OTHER_NAME, diagnosis
        assert "is not for the name localhost" in diagnosis.text

    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT])
    async def test_that_has_expired(self, pki: Pki, trust: ssl.SSLContext, tls: Tls) -> None:
        expired = pki.issue_specially("localhost", not_after=datetime.now(UTC) - timedelta(days=1))
        assert (await self._tried(expired, pki, trust, tls)).finding is Finding.EXPIRED

    async def test_that_is_not_valid_yet(self, pki: Pki, trust: ssl.SSLContext) -> None:
        early = pki.issue_specially("localhost", not_before=datetime.now(UTC) + timedelta(days=1))
        assert (await self._tried(early, pki, trust, IMPLICIT)).finding is Finding.NOT_YET_VALID

    async def test_that_nobody_else_signed(self, pki: Pki, trust: ssl.SSLContext) -> None:
        alone = pki.issue_specially("localhost", self_signed=True)
        assert (await self._tried(alone, pki, trust, IMPLICIT)).finding is Finding.UNKNOWN_AUTHORITY

    async def test_that_is_for_no_server(self, pki: Pki, trust: ssl.SSLContext) -> None:
        for_clients = pki.issue_specially("localhost", for_clients=True)
        diagnosis = await self._tried(for_clients, pki, trust, IMPLICIT)
        assert diagnosis.finding is Finding.CERTIFICATE_REFUSED
        assert "purpose" in diagnosis.text


class TestTlsThatIsTooOld:
    async def test_behind_starttls(self, pki: Pki, trust: ssl.SSLContext) -> None:
        async with RecordingProvider(tls=STARTTLS, context=pki.old_server_context()) as server:
            diagnosis = await diagnose(_row(server.port), trust=trust)
        assert diagnosis.finding is Finding.TLS_FAILED, diagnosis
        assert "TLS 1.2 or newer" in diagnosis.text

    async def test_from_the_beginning(self, pki: Pki, trust: ssl.SSLContext) -> None:
        async with RecordingProvider(tls=IMPLICIT, context=pki.old_server_context()) as server:
            diagnosis = await diagnose(_row(server.port, IMPLICIT), trust=trust, patience=UNASKED)
        assert diagnosis.finding is Finding.TLS_FAILED, diagnosis


class TestAnotherServer:
    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT, NONE])
    @pytest.mark.parametrize("kind", [SMTP, IMAP])
    async def test_of_the_web(self, trust: ssl.SSLContext, kind: ProviderKind, tls: Tls) -> None:
        with _web_server() as port:
            row = _row(port, kind=kind)
            diagnosis = await diagnose(row, tls=tls, trust=trust, patience=UNASKED)
        assert diagnosis.finding is Finding.OTHER_PROTOCOL, diagnosis
        assert f"speaks HTTP, not {row.protocol}. That is a web server" in diagnosis.text

    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT])
    async def test_of_the_web_within_tls(self, pki: Pki, trust: ssl.SSLContext, tls: Tls) -> None:
        with _web_server(pki.server_context()) as port:
            diagnosis = await diagnose(_row(port), tls=tls, trust=trust, patience=UNASKED)
        assert diagnosis.finding is Finding.OTHER_PROTOCOL, diagnosis
        assert "speaks HTTP" in diagnosis.text

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (b"+OK ready\r\n", "speaks POP3, not SMTP"),
            (b"SSH-2.0-x\r\n", "speaks something else, not SMTP. Another program"),
            (b"\xff\xfd\x18\xff\xfd\x20", "speaks something else"),
            (b"x" * 100_000, "speaks something else"),
            (b"* OK ready\r\n", "speaks IMAP, not SMTP"),
            (b"* BYE too many\r\n", "speaks IMAP, not SMTP"),
        ],
    )
    async def test_of_another_protocol(self, trust: ssl.SSLContext, words: bytes, told: str) -> None:
        async with _says(words) as port:
            diagnosis = await diagnose(_row(port), trust=trust, patience=Patience(greeting=1.0))
        assert diagnosis.finding is Finding.OTHER_PROTOCOL, diagnosis
        assert told in diagnosis.text


class TestAServerThatDoesNotServe:
    async def test_because_it_has_no_starttls(self, trust: ssl.SSLContext) -> None:
        async with (
            RecordingProvider() as server,
            ScriptedMailbox(answers={"STARTTLS": b"%tag BAD what\r\n"}) as mailbox,
        ):
            for row in (_row(server.port), _row(mailbox.port, kind=IMAP)):
                assert (await diagnose(row, trust=trust)).finding is Finding.NO_STARTTLS

    async def test_because_it_takes_no_logins(self, pki: Pki, trust: ssl.SSLContext) -> None:
        async with RecordingProvider(tls=STARTTLS, context=pki.server_context(), mechanisms=()) as server:
            assert (await diagnose(_row(server.port), trust=trust)).finding is Finding.NO_LOGIN
        async with RecordingProvider(mechanisms=()) as server:
            assert (await diagnose(_row(server.port, NONE), trust=trust)).finding is Finding.NO_LOGIN

    async def test_because_its_only_login_is_disabled(self, trust: ssl.SSLContext) -> None:
        greeting = b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] ready\r\n"
        async with ScriptedMailbox(answers={"greeting": greeting}) as mailbox:
            assert (await diagnose(_row(mailbox.port, NONE, IMAP), trust=trust)).finding is Finding.NO_LOGIN

    async def test_because_it_refuses_everybody(self, trust: ssl.SSLContext) -> None:
        async with RecordingProvider(replies={"greeting": b"421 4.3.2 not now\r\n"}) as server:
            diagnosis = await diagnose(_row(server.port), trust=trust)
        assert diagnosis.finding is Finding.REFUSES, diagnosis
        assert "421" in diagnosis.text

    async def test_because_its_provider_cannot_be_had(self, tmp_path: Path, pki: Pki, trust: ssl.SSLContext) -> None:
        gone = {"name": "gone", "host": "127.0.0.1", "port": free_port(), "tls": "none"}
        async with Served(tmp_path, pki, providers=[gone], listeners=[{"tls": "implicit"}]) as served:
            (row,) = servers(load(served.config))
            diagnosis = await diagnose(row, trust=trust)
        assert diagnosis.finding is Finding.REFUSES, diagnosis
        assert "the mail provider behind it" in diagnosis.text

    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT, NONE])
    async def test_because_it_hangs_up(self, trust: ssl.SSLContext, tls: Tls) -> None:
        async with _says(b"", closes=True) as port:
            assert (await diagnose(_row(port), tls=tls, trust=trust)).finding is Finding.HANGS_UP

    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT, NONE])
    async def test_because_it_says_nothing(self, trust: ssl.SSLContext, tls: Tls) -> None:
        async with _says(b"") as port:
            diagnosis = await diagnose(_row(port), tls=tls, trust=trust, patience=IMPATIENT)
        assert diagnosis.finding is Finding.SAYS_NOTHING, diagnosis

    async def test_because_it_says_nothing_within_tls(self, pki: Pki, trust: ssl.SSLContext) -> None:
        patience = Patience(greeting=0.3, answer=0.3)
        async with _says(b"", context=pki.server_context()) as port:
            diagnosis = await diagnose(_row(port, IMPLICIT), trust=trust, patience=patience)
        assert diagnosis.finding is Finding.SAYS_NOTHING, diagnosis


class TestNobodyThere:
    @pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT, NONE])
    async def test_because_nothing_listens(self, trust: ssl.SSLContext, tls: Tls) -> None:
        port = free_port()
        diagnosis = await diagnose(_row(port), tls=tls, trust=trust)
        assert diagnosis.finding is Finding.NOTHING_LISTENS, diagnosis
        assert f"Nothing listens on port {port} of localhost" in diagnosis.text

    async def test_because_the_name_leads_nowhere(self, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_such_name(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
        (row,) = table(listener(587, STARTTLS), hostname="misspelt.example.com")
        diagnosis = await diagnose(row, trust=trust)
        assert diagnosis.finding is Finding.NAME_UNKNOWN, diagnosis
        assert "misspelt.example.com leads to no address" in diagnosis.text

    async def test_because_the_name_can_be_none(self, trust: ssl.SSLContext) -> None:
        (row,) = table(listener(587, STARTTLS), hostname=f"{'x' * 64}.example.com")
        assert (await diagnose(row, trust=trust)).finding is Finding.NAME_UNKNOWN

    async def test_because_no_way_leads_there(self, trust: ssl.SSLContext) -> None:
        (row,) = table(listener(587, STARTTLS), hostname="255.255.255.255")  # the kernel refuses it and sends nothing
        assert (await diagnose(row, trust=trust)).finding is Finding.UNREACHABLE

    async def test_because_nothing_comes_back(self, trust: ssl.SSLContext) -> None:
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.socket())
            full.bind(("127.0.0.1", 0))
            full.listen(0)  # whom nobody accepts, the kernel leaves without an answer once the queue is full
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            diagnosis = await diagnose(_row(full.getsockname()[1]), trust=trust, patience=IMPATIENT)
        assert diagnosis.finding is Finding.UNREACHABLE, diagnosis


async def test_imap_server_with_the_login_command_alone_takes_logins(trust: ssl.SSLContext) -> None:
    async with ScriptedMailbox(answers={"greeting": b"* OK [CAPABILITY IMAP4rev1] ready\r\n"}) as mailbox:
        assert (await diagnose(_row(mailbox.port, NONE, IMAP), trust=trust)).is_well


async def test_no_name_and_no_login_is_ever_sent(pki: Pki, trust: ssl.SSLContext) -> None:
    async with (
        RecordingProvider(tls=STARTTLS, context=pki.server_context()) as server,
        ScriptedMailbox(tls=IMPLICIT, context=pki.server_context()) as mailbox,
    ):
        for row in (_row(server.port), _row(mailbox.port, IMPLICIT, IMAP)):
            assert (await diagnose(row, trust=trust)).is_well
        assert server.verbs == [b"EHLO", b"STARTTLS", b"EHLO"]
        assert [each.split()[1] for each in mailbox.lines] in ([], [b"CAPABILITY"])
        await server.until_idle()
        await mailbox.until(lambda: not mailbox.connections)
