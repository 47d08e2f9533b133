"""What commands open before they work, and the troubles that end them with one line instead of a traceback."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from certs import CertificateError
from onrecord.connecting import ConnectError
from onrecord.listening import ServeError
from onrecord.mailbox_access import AccessError
from onrecord.settings import Settings, SettingsError, load
from store.database import Database, StoreUnavailable
from store.directory import Directory, DirectoryError
from store.sealing import SealingError
from store.search_words import QueryRefused

__all__ = ["TROUBLES", "AsJson", "Opened", "PortalName", "with_store"]

TROUBLES = (
    SettingsError,
    DirectoryError,
    CertificateError,
    ServeError,
    StoreUnavailable,
    SealingError,
    ConnectError,
    AccessError,
    QueryRefused,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PortalName = Annotated[
    str | None, typer.Option("--portal", metavar="NAME", help="Which portal, where there are several.")
]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The settings, the database they name, and the directory in it."""

    settings: Settings
    database: Database
    directory: Directory


def with_store(context: typer.Context, work: Callable[[Opened], Awaitable[T]]) -> T:
    """Runs `work` on the store that the command line names; what it returns. Raises one of `TROUBLES`."""
    who = context.find_root().params.get("who") or _login_name()

    async def main() -> T:
        async with _open(context.obj, who) as opened:
            return await work(opened)

    return asyncio.run(main())


@asynccontextmanager
async def _open(config: Path | None, who: str) -> AsyncIterator[Opened]:
    """Opens what `config` names, brought up to date, for changes made by `who`."""
    settings = load(config)
    database = await Database.open(settings.database_url)
    try:
        directory = Directory(database, settings.bell, who=who, hash_key=settings.hash_key)
        yield Opened(settings=settings, database=database, directory=directory)
    finally:
        await database.close()


def _login_name() -> str:
    """The name of whoever runs the program, as the operating system knows it."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
