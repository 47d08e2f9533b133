"""The pages in Chromium: an administrator's ways through them, on a phone and a desk, in light and dark."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from debian_peers import need
from log_writer import message
from mail_clients import NODE_MODULES
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from web_pages import HASH_KEY, LOGIN, PASSWORD, Web, web_pages

from onrecord.listening import bind
from onrecord.settings import WebSettings
from onrecord.web.serving import serve_pages

pytestmark = pytest.mark.peers

expect.set_options(timeout=60_000)  # milliseconds; a busy machine is no fault of a page

AXE = NODE_MODULES / "axe-core" / "axe.min.js"
MOST_OCTETS = 200_000
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
PATHS = (
    "",
    "/contacts",
    "/contacts/kim@cust.example",
    "/emails/1",
    "/why",
    "/why?message_id=1@acme.example",
    "/settings/email-log",
    "/settings/email-log/preview?rule=replies_only",
    "/settings/never-log?user=ann@acme.example&address=kim@cust.example",
    "/settings/never-log/add?entry=cust.example",
    "/users",
    "/users/ann@acme.example",
    "/set-up/ann@acme.example",
    "/audit",
    "/emails/99",
)


class Served:
    """The pages on a port of this machine, and what browsers asked of it."""

    def __init__(self, web: Web, origin: str) -> None:
        self.web = web
        self.origin = origin
        self.trouble: list[str] = []
        self.octets: dict[str, int] = {}

    async def page(self, browser: Browser, **options: Any) -> Page:
        """A page of a browser of its own that keeps to itself whatever goes wrong in it, for the end of the test."""
        context = await browser.new_context(base_url=self.origin, **options)
        page = await context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda said: self.trouble.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("request", lambda asked: self._asked(asked.url))
        return page

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin, "data:")):
            self.trouble.append(f"asks elsewhere: {urlsplit(url).netloc}")


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    need("chromium", str(AXE))
    (socket,) = bind("127.0.0.1", 0, shared=False)
    port = socket.getsockname()[1]
    async with web_pages(tmp_path, web=WebSettings(port=port)) as web:
        stop = asyncio.Event()
        serving = asyncio.create_task(serve_pages(web.services.settings, web.database, HASH_KEY, [socket], stop))
        one = Served(web, f"http://localhost:{port}")
        yield one
        stop.set()
        await serving
    assert one.trouble == []


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator[Browser]:
    need("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        with suppress(Exception):
            await browser.close()


async def sign_in(page: Page) -> None:
    await page.goto("/")
    await page.get_by_label("Login").fill(LOGIN)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Log", exact=True)).to_be_visible()


@pytest.mark.parametrize("has_scripts", [True, False], ids=["with scripts", "without scripts"])
async def test_an_administrator_sets_the_rule_and_finds_out_why(
    served: Served, chromium: Browser, has_scripts: bool
) -> None:
    """Nobody has told what to do: every step is found by what the page says."""
    page = await served.page(chromium, viewport=DESK, java_script_enabled=has_scripts)
    await sign_in(page)
    await expect(page.get_by_text("Nothing is logged yet.")).to_be_visible()

    await page.get_by_role("link", name="Email Log & Track").click()
    await page.get_by_label("Log replies only").check()
    await page.get_by_role("button", name="Show what would change").click()
    await page.get_by_role("button", name="Save “Log replies only”").click()
    await expect(page.get_by_role("status")).to_contain_text("Saved.")
    await served.web.writer.passes(message(message_id="<first@acme.example>", subject="Not by this rule"))
    await page.get_by_role("link", name="Why?").click()
    await page.get_by_label("Message-ID").fill("<first@acme.example>")
    await page.get_by_role("button", name="Tell").click()
    await expect(page.locator("p.answer")).to_contain_text("the portal logs replies only")

    await page.get_by_role("link", name="Email Log & Track").click()
    await page.get_by_label("Log all emails").check()
    await page.get_by_role("button", name="Show what would change").click()
    await expect(page.get_by_text("Not logged, and would be")).to_be_visible()
    await page.get_by_role("button", name="Save “Log all emails”").click()
    await served.web.writer.passes(message(message_id="<second@acme.example>", subject="By this rule"))
    await page.get_by_role("link", name="Log", exact=True).click()
    await page.get_by_role("link", name="By this rule").click()
    await expect(page.get_by_text("ann@acme.example sent it to kim@cust.example")).to_be_visible()

    await page.get_by_role("link", name="Never Log").click()
    await page.get_by_label("Address or domain").fill("cust.example")
    await page.get_by_role("button", name="Show what it covers").click()
    await expect(page.get_by_text("In the log is 1 email with nobody else")).to_be_visible()
    await page.get_by_role("button", name="Put on the list").click()
    await page.get_by_label("and", exact=True).fill("kim@cust.example")
    await page.get_by_role("button", name="Tell").click()
    await expect(page.get_by_text("kim@cust.example is on the Never Log list").first).to_be_visible()

    await page.get_by_role("link", name="Audit").click()
    await expect(page.get_by_text("never_log.add").first).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.goto("/portals/P1")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESK, "light"), (PHONE, "dark"), (PHONE, "light"), (DESK, "dark")],
    ids=["desk light", "phone dark", "phone light", "desk dark"],
)  # fmt: skip
async def test_every_page_is_for_everybody(
    served: Served, chromium: Browser, viewport: dict[str, int], scheme: str
) -> None:
    """axe-core finds nothing serious, nothing stands out of the screen, and no page is large."""
    await served.web.writer.passes(message(more="Cc: lee@cust.example\r\n"))
    page = await served.page(chromium, viewport=viewport, color_scheme=scheme)
    await page.goto("/sign-in")
    await _is_fit(page, viewport)
    await sign_in(page)
    for path in PATHS:
        response = await page.goto(f"/portals/P1{path}")
        assert response is not None
        assert response.status == (404 if path == "/emails/99" else 200), path
        await _is_fit(page, viewport)
    served.trouble = [each for each in served.trouble if "404" not in each]


async def _is_fit(page: Page, viewport: dict[str, int]) -> None:
    await page.evaluate(AXE.read_text("utf-8"))
    found = await page.evaluate("async () => (await axe.run()).violations")
    serious = [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == [], page.url
    assert await page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], page.url
    resources = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
    assert await page.evaluate(f"{resources}.reduce((sum, each) => sum + each.decodedBodySize, 0)") < MOST_OCTETS


async def test_a_keyboard_is_enough(served: Served, chromium: Browser) -> None:
    page = await served.page(chromium, viewport=DESK)
    await page.goto("/")
    await expect(page.get_by_label("Login")).to_be_focused()
    await page.keyboard.type(LOGIN)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Log", exact=True)).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="To the content")).to_be_focused()
    for _ in range(3):
        await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Contacts")).to_be_visible()


async def test_the_cookie_is_kept_over_loopback(served: Served, chromium: Browser) -> None:
    """`__Host-` asks for a secure origin, which loopback is; another origin has no part in it."""
    page = await served.page(chromium, viewport=DESK)
    await sign_in(page)
    context: BrowserContext = page.context
    (cookie,) = await context.cookies()
    assert (cookie["name"], cookie["secure"], cookie["httpOnly"]) == ("__Host-onrecord", True, True)
