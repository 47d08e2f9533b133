"""The relay one writes first: aiosmtpd in, aiosmtplib out, one durable insert for each message."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import aiosmtplib
import aiosqlite
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

__all__ = ["Handler", "serve"]


class Handler:
    """Relays and keeps each message."""

    def __init__(self, database: aiosqlite.Connection, provider: int) -> None:
        self._database = database
        self._provider = provider

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd calls it so
        content, recipients = envelope.content, ",".join(envelope.rcpt_tos)
        await self._database.execute(
            "insert into message(at, sender, recipients, content) values (?, ?, ?, ?)",
            (time.time(), envelope.mail_from, recipients, content),
        )
        await self._database.commit()
        await aiosmtplib.send(
            content,
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            hostname="127.0.0.1",
            port=self._provider,
            username="u",
            password="p",
            start_tls=False,
        )
        return "250 OK"


async def serve(port: int, provider: int, path: Path) -> None:
    """Runs until it is ended."""
    database = await aiosqlite.connect(path)
    await database.execute("pragma journal_mode = wal")
    await database.execute("pragma synchronous = full")
    await database.execute("create table message(id integer primary key, at, sender, recipients, content)")
    handler, loop = Handler(database, provider), asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(
            handler,
            authenticator=lambda *_: AuthResult(success=True),
            auth_require_tls=False,
            data_size_limit=150 * 1024 * 1024,
            loop=loop,
        )

    await loop.create_server(session, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


def main() -> None:
    """Reads the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("port", type=int)
    arguments.add_argument("provider", type=int)
    arguments.add_argument("database", type=Path)
    given = arguments.parse_args()
    asyncio.run(serve(given.port, given.provider, given.database))


if __name__ == "__main__":
    main()
