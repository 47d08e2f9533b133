"""Programs and libraries that read mail and that we did not write, each behind one function that tells what it saw.

What is told of two runs on the same mailboxes is the same when both saw and did the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import imaplib
import json
import os
import pty
import re
import struct
import sys
import tempfile
import termios
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import aioimaplib
import imapclient
import pytest
from imap_transcript import comparable
from mail_clients import NODE_MODULES, Access

__all__ = ["CLIENTS", "MOVERS", "MailboxClient", "MailboxMover", "livetest", "mbsync", "read_maildir"]

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
# A line of unittest's own report; a test with a docstring takes two.
RESULT = re.compile(r"^(test_\w+) \([^)]*\)(?:\n.*)? \.\.\. (ok|skipped|FAIL|ERROR)", re.MULTILINE)
# These ask whether a server takes longer than a microsecond, or a millisecond.
BY_THE_CLOCK = ("test_small_connection_timeout_fail", "test_small_read_timeout_fail")
IMTEST = "/usr/lib/cyrus/bin/imtest"
# The cipher, the greeting, words of SCRAM, and when it is told that its input has ended.
SAID_ANEW = re.compile(
    rb"^(?:: TLS.*|S: \* OK .*|C: A01 AUTHENTICATE SCRAM.*|[CS]: (?:\+ )?[A-Za-z0-9+/]{16,}=*|C: Q01 LOGOUT)\r?\n",
    re.MULTILINE,
)
TUID = re.compile(rb"X-TUID: [^\n]{12}\n")  # by which mbsync finds again what it has written


@dataclass(frozen=True, kw_only=True)
class MailboxClient:
    """`programs` are what must be installed; `read` works in INBOX and tells what it saw."""

    name: str
    programs: tuple[str, ...]
    mechanisms: tuple[str, ...]
    read: Callable[[Access], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class MailboxMover:
    """`move` reads all of INBOX and puts its first message into a mailbox that exists."""

    name: str
    programs: tuple[str, ...]
    move: Callable[[Access, str], Awaitable[object]]


async def _run(*command: str, standard_input: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
    """What a program prints. It must end well."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (environment or {}),
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(standard_input), PATIENCE)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, (
        f"{command[0]} ended with {process.returncode}:\n{(output + errors).decode(errors='replace')}"
    )
    return output


def read_maildir(folder: Path) -> list[tuple[str, str, bytes]]:
    """Mailbox, flags and content of all messages, whatever their files are named."""
    found = []
    for path in folder.rglob("*"):
        if path.parent.name in ("cur", "new") and path.is_file():
            flags = path.name.rpartition(":2,")[2] if ":2," in path.name else ""
            mailbox = str(path.parent.parent.relative_to(folder))
            found.append((mailbox, flags, TUID.sub(b"", path.read_bytes().replace(b"\r\n", b"\n"))))
    return sorted(found)


# -- mbsync -----------------------------------------------------------------------------------------------------------


async def mbsync(access: Access, folder: Path) -> None:
    """Brings the maildirs in `folder` and the mailboxes of the login to the same state, both ways."""
    folder.mkdir(exist_ok=True)
    settings = folder.parent / f"{folder.name}.mbsyncrc"
    settings.write_text(
        dedent(
            f"""
            IMAPAccount account
            Host localhost
            Port {access.port}
            User {access.login}
            Pass "{access.secret}"
            AuthMechs {access.mechanism}
            SSLType {"IMAPS" if access.is_implicit else "STARTTLS"}
            SystemCertificates no
            CertificateFile {access.pki.ca_file}

            IMAPStore far
            Account account

            MaildirStore near
            Path {folder}/
            Inbox {folder}/INBOX
            SubFolders Verbatim

            Channel both
            Far :far:
            Near :near:
            Patterns *
            Create Both
            Remove Both
            Expunge Both
            CopyArrivalDate yes
            SyncState *
            """
        )
    )
    await _run("mbsync", "--config", str(settings), "--all")


# -- curl -------------------------------------------------------------------------------------------------------------


async def _curl(access: Access) -> object:
    login = (
        ("--user", f"{access.login}:", "--oauth2-bearer", access.secret)
        if access.mechanism == "XOAUTH2"
        else ("--user", f"{access.login}:{access.secret}")
    )
    address = f"{'imaps' if access.is_implicit else 'imap'}://localhost:{access.port}"

    async def curl(*arguments: str) -> bytes:
        usual = ("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(access.pki.ca_file))
        return await _run(*usual, *login, "--login-options", f"AUTH={access.mechanism}", *arguments)

    with tempfile.NamedTemporaryFile(prefix="onrecord-mail-") as file:
        file.write(b"Subject: from curl\r\n\r\nHello\r\n")
        file.flush()
        return [
            await curl(f"{address}/"),
            *[await curl(f"{address}/INBOX;UID={number}") for number in (1, 2, 3, 4)],
            await curl(f"{address}/INBOX;UID=3;SECTION=2"),
            await curl(f"{address}/INBOX?SUBJECT%20Offer"),
            await curl("--upload-file", file.name, f"{address}/Sent"),
            await curl(f"{address}/Sent;UID=1"),
            await curl("--request", "STORE 1 +FLAGS (\\Seen)", f"{address}/INBOX"),
        ]


# -- mutt -------------------------------------------------------------------------------------------------------------


async def _mutt(access: Access) -> object:
    """mutt, at a terminal that nobody sits at, copies all mail into a file, flags it and saves one to Sent."""
    with tempfile.TemporaryDirectory(prefix="onrecord-mutt-") as folder:
        keys = (
            f"<tag-pattern>~A<enter><tag-prefix><copy-message>{folder}/copies<enter>"
            "<first-entry><set-flag>!<save-message>=Sent<enter><sync-mailbox><exit>"
        )
        await _push(access, Path(folder), keys)
        return (Path(folder) / "copies").read_bytes()


async def _push(access: Access, folder: Path, keys: str) -> None:
    """mutt opens INBOX and is given these keys."""
    address = f"{'imaps' if access.is_implicit else 'imap'}://{access.login}@localhost:{access.port}"
    settings = folder / "muttrc"
    settings.write_text(
        dedent(
            f"""
            set imap_user = "{access.login}" imap_pass = "{access.secret}"
            set imap_authenticators = "{access.mechanism.lower()}"
            set imap_qresync = yes imap_condstore = yes imap_deflate = yes imap_idle = yes
            set ssl_force_tls = yes ssl_starttls = yes
            set ssl_ca_certificates_file = "{access.pki.ca_file}"
            set mbox_type = mbox confirmappend = no confirmcreate = no delete = yes quit = yes sleep_time = 0
            set wait_key = no folder = "{address}/"
            """
        )
    )
    command = ("mutt", "-n", "-F", str(settings), "-f", f"{address}/INBOX", "-e", f'push "{keys}"')
    await _run_at_terminal(command, {"HOME": str(folder), "TERM": "vt100", "LC_ALL": "C.UTF-8"})


async def _run_at_terminal(command: tuple[str, ...], environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            while octets := os.read(ours, 65536):
                shown.extend(octets)

    reader = threading.Thread(target=read, daemon=True)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | environment, start_new_session=True
    )
    os.close(theirs)
    reader.start()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.fail(f"{command[0]} did not end; it showed:\n{shown[-4000:].decode(errors='replace')}")
    finally:
        await asyncio.to_thread(reader.join)
        os.close(ours)
    assert process.returncode == 0, shown[-4000:].decode(errors="replace")


# -- fetchmail --------------------------------------------------------------------------------------------------------


async def _fetchmail(access: Access) -> object:
    with tempfile.TemporaryDirectory(prefix="onrecord-fetchmail-") as folder:
        settings = Path(folder) / "fetchmailrc"
        tls = "ssl" if access.is_implicit else 'sslproto "auto"'
        settings.write_text(
            f"set invisible\n"
            f'poll localhost service {access.port} protocol imap auth password user "{access.login}" password'
            f' "{access.secret}" {tls} sslcertck'
            f' sslcertfile "{access.pki.ca_file}" fetchall no rewrite mda "cat >> {folder}/fetched"\n'
        )
        settings.chmod(0o600)
        options = ("--fetchmailrc", str(settings), "--pidfile", f"{folder}/pid", "--idfile", f"{folder}/ids")
        await _run("fetchmail", *options, environment={"HOME": folder, "FETCHMAILHOME": folder})
        return (Path(folder) / "fetched").read_bytes()


# -- imtest -----------------------------------------------------------------------------------------------------------


async def _imtest(access: Access) -> object:
    """It shows what it says and hears. What it is told to say it says as it stands; LOGOUT is of its own.

    What is told before TLS, or before the login leads to a provider, is the relay's.
    """
    content = b"Subject: from imtest\r\n\r\nHello\r\n"
    commands = (
        b'a LIST "" *',
        b"b SELECT INBOX",
        b"c FETCH 1:* (UID FLAGS BODY.PEEK[])",
        b"d UID SEARCH SUBJECT Offer",
        b"e APPEND Sent (\\Seen) {%d+}\r\n%s" % (len(content), content),
        b"f UID MOVE 2 Sent",
        b"g STATUS Sent (MESSAGES UIDNEXT)",
        b"h STORE 1 +FLAGS (\\Flagged)",
        b"i nonsense",
        b"j CAPABILITY",
    )
    tls = ("-s",) if access.is_implicit else ("-t", "")
    name = ("-m", access.mechanism, "-u", access.login, "-a", access.login, "-w", access.secret)
    said = await _converse((IMTEST, *tls, *name, "-p", str(access.port), "localhost"), commands)
    _, established, private = said.partition(b"TLS connection established")
    assert established, said.decode(errors="replace")
    return SAID_ANEW.sub(b"", comparable(private))


async def _converse(program: tuple[str, ...], commands: tuple[bytes, ...]) -> bytes:
    """All that a program shows that is given one command after the other, each when the one before is done."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    assert process.stdin is not None
    assert process.stdout is not None
    shown = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            for command in commands:
                process.stdin.write(command + b"\r\n")
                done = re.compile(rb"^%s (?:OK|NO|BAD)[^\n]*\n" % command[:1], re.MULTILINE)
                start = len(shown)
                while done.search(shown, start) is None:
                    octets = await process.stdout.read(65536)
                    assert octets, shown[-4000:].decode(errors="replace")
                    shown += octets
                    start = max(start, len(shown) - len(octets) - 1000)
            process.stdin.close()
            shown += await process.stdout.read()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, shown[-4000:].decode(errors="replace")
    return bytes(shown)


# -- libraries --------------------------------------------------------------------------------------------------------


async def _imapflow(access: Access) -> object:
    task = {
        "modules": str(NODE_MODULES),
        "port": access.port,
        "implicit": access.is_implicit,
        "ca": str(access.pki.ca_file),
        "login": access.login,
        ("token" if access.mechanism == "XOAUTH2" else "password"): access.secret,
    }
    script = str(ROOT / "tests" / "peers" / "read_mail.mjs")
    return json.loads(await _run("node", script, standard_input=json.dumps(task).encode()))


async def _imaplib(access: Access) -> object:
    return await asyncio.to_thread(_read_with_imaplib, access)


def _read_with_imaplib(access: Access) -> object:
    context = access.pki.client_context()
    client = (
        imaplib.IMAP4_SSL("localhost", access.port, ssl_context=context, timeout=PATIENCE)
        if access.is_implicit
        else imaplib.IMAP4("localhost", access.port, timeout=PATIENCE)
    )
    with client:
        if not access.is_implicit:
            client.starttls(ssl_context=context)
        if access.mechanism == "PLAIN":
            client.authenticate("PLAIN", lambda _: f"\0{access.login}\0{access.secret}".encode())
        elif access.mechanism == "XOAUTH2":
            client.authenticate("XOAUTH2", lambda _: f"user={access.login}\1auth=Bearer {access.secret}\1\1".encode())
        else:
            client.login(access.login, access.secret)
        return [
            client.list(),
            client.select("INBOX"),
            client.fetch("1:*", "(UID FLAGS BODY.PEEK[])"),
            client.uid("FETCH", "3", "(BODYSTRUCTURE)"),
            client.append("Sent", "(\\Seen)", None, b"Subject: from imaplib\r\n\r\nHello\r\n")[0],  # type: ignore[arg-type]
            client.store("1", "+FLAGS", "(\\Seen \\Deleted)"),
            client.search(None, "SEEN"),
            client.expunge(),
            client.close()[0],
        ]


async def _aioimaplib(access: Access) -> object:
    """It knows no STARTTLS."""
    client = aioimaplib.IMAP4_SSL("localhost", access.port, ssl_context=access.pki.client_context(), timeout=PATIENCE)
    await client.wait_hello_from_server()
    if access.mechanism == "XOAUTH2":
        await client.xoauth2(access.login, access.secret)
    else:
        await client.login(access.login, access.secret)
    await client.protocol.capability()  # it asks of itself only after LOGIN
    seen = [await client.select("INBOX"), await client.fetch("1:*", "(UID FLAGS BODY.PEEK[])")]
    idle = await client.idle_start(timeout=PATIENCE)
    client.idle_done()
    await asyncio.wait_for(idle, PATIENCE)
    content = b"Subject: from aioimaplib\r\n\r\nHello\r\n"
    seen += [await client.append(content, "Sent", "\\Seen"), await client.uid("move", "2", "Trash")]
    seen.append(await client.search("ALL"))
    await client.logout()
    return [_without_clock(response.result, response.lines) for response in seen]


def _without_clock(result: str, lines: list[bytes]) -> tuple[str, list[bytes]]:
    """Dovecot tells in the last line how long it took."""
    return result, [bytes(each) for each in lines[:-1]]


CLIENTS = (
    MailboxClient(name="curl", programs=("curl",), mechanisms=("PLAIN", "LOGIN", "XOAUTH2"), read=_curl),
    MailboxClient(name="mutt", programs=("mutt",), mechanisms=("LOGIN", "PLAIN"), read=_mutt),
    MailboxClient(name="imtest", programs=(IMTEST,), mechanisms=("PLAIN", "LOGIN", "SCRAM-SHA-256"), read=_imtest),
    MailboxClient(name="fetchmail", programs=("fetchmail",), mechanisms=("LOGIN",), read=_fetchmail),
    MailboxClient(
        name="imapflow",
        programs=("node", str(NODE_MODULES / "imapflow")),
        mechanisms=("PLAIN", "XOAUTH2"),
        read=_imapflow,
    ),
    MailboxClient(name="imaplib", programs=(), mechanisms=("LOGIN", "PLAIN", "XOAUTH2"), read=_imaplib),
    MailboxClient(name="aioimaplib", programs=(), mechanisms=("LOGIN", "XOAUTH2"), read=_aioimaplib),
)


# -- who moves mail ---------------------------------------------------------------------------------------------------


async def _curl_moves(access: Access, mailbox: str) -> None:
    """curl, which does both over one connection."""
    address = f"{'imaps' if access.is_implicit else 'imap'}://localhost:{access.port}/INBOX"
    usual = ("--silent", "--show-error", "--ssl-reqd", "--cacert", str(access.pki.ca_file))
    login = ("--user", f"{access.login}:{access.secret}")
    move = ("--next", *usual, *login, "--request", f'UID MOVE 1 "{mailbox}"', address)
    await _run("curl", *usual, *login, f"{address};UID=[1-2]", *move)


async def _mutt_moves(access: Access, mailbox: str) -> None:
    """mutt, which copies and then expunges. A space in a name would ask it for the next mailbox."""
    name = mailbox.replace(" ", "<quote-char><space>")
    with tempfile.TemporaryDirectory(prefix="onrecord-mutt-") as folder:
        keys = (
            f"<tag-pattern>~A<enter><tag-prefix><copy-message>{folder}/copies<enter>"
            f"<first-entry><save-message>={name}<enter><sync-mailbox><exit>"
        )
        await _push(access, Path(folder), keys)


async def _imapclient_moves(access: Access, mailbox: str) -> None:
    await asyncio.to_thread(_move_with_imapclient, access, mailbox)


def _move_with_imapclient(access: Access, mailbox: str) -> None:
    context = access.pki.client_context()
    with imapclient.IMAPClient("localhost", access.port, ssl=True, ssl_context=context, timeout=PATIENCE) as client:
        client.login(access.login, access.secret)
        client.select_folder("INBOX")
        client.fetch(client.search(), ["BODY.PEEK[]", "FLAGS"])
        client.move([1], mailbox)


async def _aioimaplib_copies(access: Access, mailbox: str) -> None:
    client = aioimaplib.IMAP4_SSL("localhost", access.port, ssl_context=access.pki.client_context(), timeout=PATIENCE)
    await client.wait_hello_from_server()
    await client.login(access.login, access.secret)
    await client.select("INBOX")
    await client.fetch("1:*", "(RFC822)")  # without UIDs: the provider tells them when it has copied
    await client.fetch("1:*", "(UID BODY.PEEK[])")
    answer = await client.copy("1", f'"{mailbox}"')
    assert answer.result == "OK", answer
    await client.logout()


MOVERS = (
    MailboxMover(name="curl", programs=("curl",), move=_curl_moves),
    MailboxMover(name="mutt", programs=("mutt",), move=_mutt_moves),
    MailboxMover(name="IMAPClient", programs=(), move=_imapclient_moves),
    MailboxMover(name="aioimaplib", programs=(), move=_aioimaplib_copies),
)


# -- IMAPClient's own tests -------------------------------------------------------------------------------------------


async def livetest(access: Access) -> list[tuple[str, str]]:
    """How each of the tests that IMAPClient brings along for live servers ended; some fail with any server.

    Most are there twice: with UIDs and without.
    """
    with tempfile.NamedTemporaryFile("w", prefix="onrecord-livetest-", suffix=".ini") as settings:
        settings.write(
            f"[DEFAULT]\nhost = localhost\nport = {access.port}\n"
            f"username = {access.login}\npassword = {access.secret}\n"
            f"ssl = {access.is_implicit}\nstarttls = {not access.is_implicit}\nssl_ca_file = {access.pki.ca_file}\n"
        )
        settings.flush()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "imapclient.livetest", settings.name, "--verbose"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"SSL_CERT_FILE": str(access.pki.ca_file)},  # of its STARTTLS, which asks for no file
        )
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    text = output.decode(errors="replace")
    print(text)  # shown when the test fails
    found = [(match[1], match[2]) for match in RESULT.finditer(text) if match[1] not in BY_THE_CLOCK]
    assert len(found) > 50, text
    return found
