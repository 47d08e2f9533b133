"""The pages over a log of the test's own: the whole application, asked as a browser asks, without a network."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import httpx
from database_template import database_template
from log_writer import LogWriter

from engine.directory import Rule
from engine.secret import Secret
from onrecord.settings import Settings, StoreSettings, WebSettings
from onrecord.web.application import application
from onrecord.web.passwords import hashed
from onrecord.web.services import Services
from store.database import Database
from store.directory import Directory
from store.web_accounts import WebAccount, WebAccounts

__all__ = ["HASH_KEY", "LOGIN", "ORIGIN", "PASSWORD", "Browser", "Web", "web_pages"]

ORIGIN = "https://onrecord.example"
LOGIN, PASSWORD = "admin", "four words are enough"
HASH_KEY = b"k" * 32
HASHED = hashed(Secret(PASSWORD.encode()))  # once: it takes a while, as it must
FORM_WORD = re.compile(r'name="form_word" value="([0-9a-f]{64})"')


class Browser:
    """Cookies, and the fields and headers that a browser sends. `site` is what it says of where a form comes from."""

    def __init__(self, app: Any) -> None:
        transport = httpx.ASGITransport(app, client=("192.0.2.7", 4000), raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url=ORIGIN)
        self.form_word = ""

    async def get(self, path: str, **more: Any) -> httpx.Response:
        """A page; its form word is remembered."""
        response = await self.http.get(path, **more)
        if (match := FORM_WORD.search(response.text)) is not None:
            self.form_word = match[1]
        return response

    async def post(
        self, path: str, fields: dict[str, Any] | None = None, *, site: str | None = "same-origin", **headers: str
    ) -> httpx.Response:
        """Sends a form with the word of the session."""
        said = {"sec-fetch-site": site} if site is not None else {}
        return await self.http.post(path, data={"form_word": self.form_word} | (fields or {}), headers=said | headers)

    async def sign_in(self, login: str = LOGIN, password: str = PASSWORD, **fields: str) -> httpx.Response:
        """What the sign-in answers; the next page gives the form word."""
        return await self.post("/sign-in", {"login": login, "password": password} | fields)


@dataclass(kw_only=True)
class Web:
    """What a test works with. `now` is the time of the pages, in Unix seconds; `None` is the real one."""

    app: Any
    services: Services
    database: Database
    directory: Directory
    accounts: WebAccounts
    writer: LogWriter
    clock: list[float]

    def browser(self) -> Browser:
        """One that has seen nothing yet."""
        return Browser(self.app)

    async def signed_in(self, login: str = LOGIN) -> Browser:
        """One that is signed in, at a page with a form."""
        browser = self.browser()
        assert (await browser.sign_in(login)).status_code == 303
        await browser.get("/portals/none")
        return browser

    async def account(self, login: str, portal: str | None = None) -> WebAccount:
        """Another administrator, with the same password."""
        home = await self.directory.portal(portal) if portal is not None else None
        return await self.accounts.add(login, HASHED, portal=home)


@asynccontextmanager
async def web_pages(folder: Path, *, rule: Rule = Rule.ALL, web: WebSettings | None = None) -> AsyncIterator[Web]:
    """The pages of the sample portal P1, and the account LOGIN."""
    path = folder / "onrecord.sqlite"
    copyfile(await database_template(rule), path)
    database = await Database.open(f"sqlite:///{path}")
    web = web or WebSettings(url=ORIGIN)
    settings = Settings(data=folder, store=StoreSettings(url=f"sqlite:///{path}"), web=web)
    clock = [1_800_000_000.0]
    services = Services(settings=settings, database=database, hash_key=HASH_KEY, clock=lambda: clock[0])
    accounts = services.accounts("test")
    await accounts.add(LOGIN, HASHED)
    try:
        yield Web(
            app=application(services, web.origins),
            services=services,
            database=database,
            directory=services.directory("test"),
            accounts=accounts,
            writer=LogWriter(database, settings.bell, HASH_KEY),
            clock=clock,
        )
    finally:
        await services.bodies.close()
        await database.close()
