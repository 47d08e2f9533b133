"""Mail clients that we did not write, each behind one function that submits one whole message.

`CLIENTS` says which logins each of them can do. What is not there the client has not got in Debian 12: SCRAM-SHA-256
in curl (built without GNU SASL), swaks and the libraries, XOAUTH2 in swaks and in Cyrus SASL, which Postfix uses.
SMTPUTF8 is in curl, the libraries and Postfix; swaks and msmtp do not ask for it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import smtplib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
from debian_peers import PASSWORD, bearer_token
from pki import Pki

__all__ = ["CLIENTS", "COMPOSERS", "Access", "Mail", "MailClient", "hand_over"]

ROOT = Path(__file__).parents[2]
NODE_MODULES = ROOT / ".node" / "node_modules"
PATIENCE = 120.0
DATE = "Tue, 24 Nov 2026 10:00:00 +0100"
SUBJECT = "Angebot über 5 Stück"
TEXT = "Grüße\n.\n..\n.Ann\n" + "eine lange Zeile " * 100 + "\n"
ATTACHMENT = bytes(range(256)) * 64


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where and how to submit. `tls` is "starttls" or "implicit"."""

    port: int
    tls: str
    pki: Pki
    mechanism: str = "PLAIN"
    login: str = "ann@acme.example"

    @property
    def is_implicit(self) -> bool:
        """Whether TLS comes first."""
        return self.tls == "implicit"

    @property
    def secret(self) -> str:
        """What proves the login: password or token."""
        return bearer_token(self.login) if self.mechanism == "XOAUTH2" else PASSWORD


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A whole message and its envelope."""

    content: bytes
    recipients: Sequence[str]
    sender: str = "ann@acme.example"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether an address of the envelope has more than ASCII."""
        return not "".join((self.sender, *self.recipients)).isascii()


@dataclass(frozen=True, kw_only=True)
class MailClient:
    """`programs` are what must be installed; `submit` raises unless every recipient and the message were accepted."""

    name: str
    programs: tuple[str, ...]
    mechanisms: tuple[str, ...]
    has_smtputf8: bool
    submit: Callable[[Access, Mail], Awaitable[None]]


async def _run_swaks(access: Access, *arguments: str) -> None:
    """swaks with what connects, logs in and verifies, and with `arguments`."""
    await _run(
        *("swaks", "--server", "localhost", "--port", str(access.port), "--hide-all"),
        *("--tls-on-connect" if access.is_implicit else "--tls", "--tls-verify"),
        *("--tls-ca-path", str(access.pki.ca_file)),
        *("--auth", access.mechanism, "--auth-user", access.login, "--auth-password", access.secret),
        *arguments,
    )


async def _swaks(access: Access, mail: Mail) -> None:
    """The message is taken as it is; of itself swaks adds lines, and takes a dot in the last line for the end."""
    stuffed = (b"\r\n" + mail.content).replace(b"\r\n.", b"\r\n..").removeprefix(b"\r\n") + b".\r\n"
    with _file(stuffed) as path:
        envelope = ("--from", mail.sender, "--to", ",".join(mail.recipients))
        await _run_swaks(access, *envelope, "--no-data-fixup", "--data", f"@{path}")


async def _msmtp(access: Access, mail: Mail) -> None:
    with _file(mail.content) as path, path.open("rb") as content:
        await _run(
            *("msmtp", "--file=/dev/null", "--host=localhost", f"--port={access.port}", f"--from={mail.sender}"),
            *("--tls=on", f"--tls-starttls={'off' if access.is_implicit else 'on'}"),
            *(f"--tls-trust-file={access.pki.ca_file}", f"--auth={access.mechanism.lower()}", f"--user={access.login}"),
            f"--passwordeval=echo '{access.secret}'",
            *("--set-from-header=off", "--set-date-header=off", "--set-msgid-header=off"),
            *("--undisclosed-recipients=off", "--remove-bcc-headers=off", "--", *mail.recipients),
            standard_input=content.fileno(),
        )


async def _curl(access: Access, mail: Mail) -> None:
    scheme = "smtps" if access.is_implicit else "smtp"
    login = (
        ("--user", f"{access.login}:", "--oauth2-bearer", access.secret)
        if access.mechanism == "XOAUTH2"
        else ("--user", f"{access.login}:{access.secret}")
    )
    with _file(mail.content) as path:
        await _run(
            *("curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(access.pki.ca_file)),
            *(*login, "--login-options", f"AUTH={access.mechanism}", "--mail-from", mail.sender),
            *(word for each in mail.recipients for word in ("--mail-rcpt", each)),
            *("--upload-file", str(path), f"{scheme}://localhost:{access.port}"),
        )


@contextlib.contextmanager
def _with_smtplib(access: Access) -> Iterator[smtplib.SMTP]:
    context = access.pki.client_context()
    with (
        smtplib.SMTP_SSL("localhost", access.port, context=context, timeout=PATIENCE)
        if access.is_implicit
        else smtplib.SMTP("localhost", access.port, timeout=PATIENCE)
    ) as client:
        if not access.is_implicit:
            client.starttls(context=context)
        client.ehlo()
        client.user, client.password = access.login, access.secret
        exchange = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}.get(access.mechanism)
        client.auth(access.mechanism, exchange or (lambda challenge=None: _xoauth2(access)))
        yield client


async def _smtplib(access: Access, mail: Mail) -> None:
    def submit() -> None:
        with _with_smtplib(access) as client:
            _hand_over(client, mail)

    await asyncio.to_thread(submit)


@contextlib.asynccontextmanager
async def _with_aiosmtplib(access: Access) -> AsyncIterator[aiosmtplib.SMTP]:
    async with aiosmtplib.SMTP(
        hostname="localhost",
        port=access.port,
        use_tls=access.is_implicit,
        start_tls=not access.is_implicit,
        tls_context=access.pki.client_context(),
        timeout=PATIENCE,
    ) as client:
        await client.ehlo()
        exchange = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login, "XOAUTH2": client.auth_xoauth2}
        await exchange[access.mechanism](access.login, access.secret)
        yield client


async def _aiosmtplib(access: Access, mail: Mail) -> None:
    async with _with_aiosmtplib(access) as client:
        refused, _ = await client.sendmail(
            mail.sender, list(mail.recipients), mail.content, mail_options=_mail_options(mail)
        )
    assert not refused


async def _run_nodemailer(access: Access, **task: object) -> None:
    """nodemailer with what connects, logs in and verifies, and with the rest of its `task`."""
    task |= {
        "modules": str(NODE_MODULES),
        "port": access.port,
        "implicit": access.is_implicit,
        "ca": str(access.pki.ca_file),
        "login": access.login,
        "mechanism": access.mechanism,
        ("token" if access.mechanism == "XOAUTH2" else "password"): access.secret,
    }
    with _file(json.dumps(task).encode()) as path, path.open("rb") as standard_input:
        await _run("node", str(ROOT / "tests" / "peers" / "submit.mjs"), standard_input=standard_input.fileno())


async def _nodemailer(access: Access, mail: Mail) -> None:
    with _file(mail.content) as path:
        await _run_nodemailer(access, **{"from": mail.sender, "to": list(mail.recipients), "file": str(path)})


# -- messages of the clients' own making ------------------------------------------------------------------------------


def _compose(message_id: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann <ann@acme.example>"
    message["To"] = "Kim Müller <kim@cust.example>"
    message["Subject"] = SUBJECT
    message["Date"] = DATE
    message["Message-ID"] = f"<{message_id}>"
    message.set_content(TEXT)
    message.add_attachment(ATTACHMENT, maintype="application", subtype="octet-stream", filename="größe.bin")
    message.set_boundary("boundary-of-the-test")
    return message


async def _compose_with_smtplib(access: Access, message_id: str) -> None:
    def submit() -> None:
        with _with_smtplib(access) as client:
            client.send_message(_compose(message_id))

    await asyncio.to_thread(submit)


async def _compose_with_aiosmtplib(access: Access, message_id: str) -> None:
    async with _with_aiosmtplib(access) as client:
        await client.send_message(_compose(message_id))


async def _compose_with_swaks(access: Access, message_id: str) -> None:
    fields = {"Date": DATE, "Message-Id": f"<{message_id}>", "Subject": SUBJECT}
    options = [word for name, value in fields.items() for word in ("--header", f"{name}: {value}")]
    await _run_swaks(access, "--from", "ann@acme.example", "--to", "kim@cust.example", *options, "--body", TEXT)


async def _compose_with_nodemailer(access: Access, message_id: str) -> None:
    attachment = {"filename": "größe.bin", "content": base64.b64encode(ATTACHMENT).decode(), "encoding": "base64"}
    mail = {
        "from": "Ann <ann@acme.example>",
        "to": "Kim Müller <kim@cust.example>",
        "subject": SUBJECT,
        "date": DATE,
        "messageId": f"<{message_id}>",
        "text": TEXT,
        "html": f"<p>{TEXT}</p>",
        "attachments": [attachment],
        "baseBoundary": "boundary-of-the-test",
    }
    await _run_nodemailer(access, mail=mail)


COMPOSERS: dict[str, Callable[[Access, str], Awaitable[None]]] = {
    "swaks": _compose_with_swaks,
    "smtplib": _compose_with_smtplib,
    "aiosmtplib": _compose_with_aiosmtplib,
    "nodemailer": _compose_with_nodemailer,
}
"""Each writes a message itself, under the Message-ID given: for the same id, the same octets each time."""

CLIENTS = (
    MailClient(name="swaks", programs=("swaks",), mechanisms=("PLAIN", "LOGIN"), has_smtputf8=False, submit=_swaks),
    MailClient(
        name="msmtp",
        programs=("msmtp",),
        mechanisms=("PLAIN", "LOGIN", "XOAUTH2", "SCRAM-SHA-256"),
        has_smtputf8=False,
        submit=_msmtp,
    ),
    MailClient(
        name="curl", programs=("curl",), mechanisms=("PLAIN", "LOGIN", "XOAUTH2"), has_smtputf8=True, submit=_curl
    ),
    MailClient(
        name="smtplib", programs=(), mechanisms=("PLAIN", "LOGIN", "XOAUTH2"), has_smtputf8=True, submit=_smtplib
    ),
    MailClient(
        name="aiosmtplib", programs=(), mechanisms=("PLAIN", "LOGIN", "XOAUTH2"), has_smtputf8=True, submit=_aiosmtplib
    ),
    MailClient(
        name="nodemailer",
        programs=("node", str(NODE_MODULES / "nodemailer")),
        mechanisms=("PLAIN", "LOGIN", "XOAUTH2"),
        has_smtputf8=True,
        submit=_nodemailer,
    ),
)


async def hand_over(port: int, mail: Mail, *, pki: Pki | None = None) -> None:
    """Gives a message to a mail server that is to send it on: in clear, or logged in over STARTTLS with `pki`."""

    def submit() -> None:
        with smtplib.SMTP("localhost", port, timeout=PATIENCE) as client:
            if pki is not None:
                client.starttls(context=pki.client_context())
                client.login("ann@acme.example", PASSWORD)
            client.ehlo()
            _hand_over(client, mail)

    await asyncio.to_thread(submit)


def _hand_over(client: smtplib.SMTP, mail: Mail) -> None:
    refused = client.sendmail(mail.sender, list(mail.recipients), mail.content, _mail_options(mail))
    assert not refused


def _mail_options(mail: Mail) -> list[str]:
    return ["BODY=8BITMIME", "SMTPUTF8"] if mail.needs_smtputf8 else ["BODY=8BITMIME"]


def _xoauth2(access: Access) -> str:
    return f"user={access.login}\1auth=Bearer {access.secret}\1\1"


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="onrecord-mail-") as file:
        file.write(content)
        file.flush()
        yield Path(file.name)


async def _run(*command: str, standard_input: int | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=standard_input if standard_input is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, f"{command[0]} ended with {process.returncode}:\n{output.decode(errors='replace')}"
