"""The pretend provider of the sandbox: SMTP by aiosmtpd, IMAP by pymap.

For trying things on loopback only. Mail for an account goes to its mailbox, a copy of what an account sends to its
Sent; mail to anybody else is accepted from accounts and goes nowhere.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as SmtpSession

from onrecord.sandbox.mailboxes import Mailboxes

__all__ = ["PASSWORD", "Provider"]

PASSWORD = "sandbox"  # noqa: S105  # known to everybody who reads what the sandbox prints
MAX_MESSAGE = 150 * 1024 * 1024


class Provider:
    """Accounts by address; several addresses may share the mailbox of one account."""

    def __init__(self, folder: Path, accounts: Mapping[str, str]) -> None:
        self._accounts = dict(accounts)
        self._mailboxes = Mailboxes(folder, accounts)

    async def serve(
        self, smtp: tuple[socket.socket, ...], imap: tuple[socket.socket, ...], context: ssl.SSLContext
    ) -> list[asyncio.Server]:
        """Serves on bound sockets; SMTP offers STARTTLS with `context` and takes logins in clear too."""
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd tells itself of what it deprecates
        loop = asyncio.get_running_loop()
        await self._mailboxes.open(PASSWORD)

        def session() -> SMTP:
            return _Smtp(
                self,
                hostname="sandbox",
                ident="sandbox provider",
                data_size_limit=MAX_MESSAGE,
                enable_SMTPUTF8=True,
                tls_context=context,
                auth_require_tls=False,
                authenticator=self._authenticate,
                loop=loop,
            )

        servers = [await loop.create_server(session, sock=each) for each in smtp]
        return servers + [await asyncio.start_server(self._mailboxes.server(), sock=each) for each in imap]

    # -- SMTP -------------------------------------------------------------------------------------------------------

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: SmtpSession, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Anybody may write to an account; only accounts may write to others."""
        if session.authenticated or address.lower() in self._accounts:
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 Ok"
        return f"550 5.7.1 No account here; log in to send elsewhere (password: {PASSWORD})"

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, session: SmtpSession, envelope: Envelope
    ) -> str:
        """Delivers to the mailboxes there are, and keeps a copy in Sent."""
        content = envelope.original_content or b""
        wanted = {self._accounts[each.lower()] for each in envelope.rcpt_tos if each.lower() in self._accounts}
        for account in sorted(wanted):
            await self._mailboxes.deliver(account, "INBOX", content)
        if (sender := self._accounts.get(str(session.auth_data))) is not None:
            await self._mailboxes.deliver(sender, "Sent", content)
        return "250 2.0.0 Ok: delivered"

    def _authenticate(
        self, server: SMTP, session: SmtpSession, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        login = data.login.decode("utf-8", "replace").lower()
        if login in self._accounts and hmac.compare_digest(data.password, PASSWORD.encode()):
            return AuthResult(success=True, auth_data=login)
        return AuthResult(success=False, handled=False, message="535 5.7.8 Authentication failed")


class _Smtp(SMTP):
    """aiosmtpd with room for long lines and long logins."""

    line_length_limit = MAX_MESSAGE
    command_size_limit = 12288  # RFC 4954 §4
