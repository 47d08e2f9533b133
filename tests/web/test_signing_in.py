"""Who comes in, who does not, and how a session ends."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import select
from web_pages import LOGIN, ORIGIN, PASSWORD, Web

from engine.secret import Secret
from onrecord.web.attempts import FREE, LONGEST_PAUSE, Attempts
from onrecord.web.passwords import Passwords, hashed
from store import schema
from store.directory import DirectoryError

PAGES = ("/", "/portals/P1", "/portals/P1/contacts", "/portals/P1/settings/email-log", "/portals/P1/audit")


async def test_signing_in_leads_to_the_page_one_wanted(web: Web) -> None:
    browser = web.browser()
    asked = await browser.get("/portals/P1/why")
    assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?to=%2Fportals%2FP1%2Fwhy")
    form = await browser.get(asked.headers["location"])
    assert 'name="to" value="/portals/P1/why"' in form.text
    answer = await browser.sign_in(to="/portals/P1/why")
    assert (answer.status_code, answer.headers["location"]) == (303, "/portals/P1/why")
    assert "Why was it logged" in (await browser.get("/portals/P1/why")).text


async def test_the_cookie_is_for_this_host_and_no_script(web: Web) -> None:
    cookie = (await web.browser().sign_in(LOGIN.upper())).headers["set-cookie"].lower()
    assert cookie.startswith("__host-onrecord=")
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= {each.strip() for each in cookie.split(";")}
    assert "domain" not in cookie


@pytest.mark.parametrize(("login", "password"), [(LOGIN, "four words are wrong"), ("nobody", PASSWORD), ("", "")])
async def test_nobody_learns_what_was_wrong(web: Web, login: str, password: str) -> None:
    answer = await web.browser().sign_in(login, password)
    assert answer.status_code == 403
    assert "No account has this login and password." in answer.text
    assert "set-cookie" not in answer.headers
    assert password == "" or password not in answer.text


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "/a\nb"])
async def test_it_leads_to_no_other_site(web: Web, to: str) -> None:
    answer = await web.browser().sign_in(to=to)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_token_is_not_in_the_database(web: Web) -> None:
    browser = await web.signed_in()
    token = browser.http.cookies["__Host-onrecord"]
    async with web.database.read() as connection:
        digests = (await connection.scalars(select(schema.web_session.c.digest))).all()
        passwords = (await connection.scalars(select(schema.web_account.c.password))).all()
    assert digests == [hashlib.sha256(token.encode()).hexdigest()]
    assert all(each.startswith("$argon2id$") for each in passwords)


class TestSessionsEnd:
    async def test_when_one_signs_out_also_for_who_kept_the_cookie(self, web: Web) -> None:
        browser = await web.signed_in()
        kept = dict(browser.http.cookies)
        answer = await browser.post("/sign-out")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        other = web.browser()
        other.http.cookies.update(kept)
        assert (await other.get("/")).headers["location"].startswith("/sign-in")

    @pytest.mark.parametrize(("pauses", "is_over"), [([7000] * 6, False), ([7300], True), ([7000] * 7, True)])
    async def test_when_nobody_uses_them_and_after_half_a_day(self, web: Web, pauses: list[int], is_over: bool) -> None:
        browser = await web.signed_in()
        for pause in pauses:
            web.clock[0] += pause
            answer = await browser.get("/portals/P1")
        assert (answer.status_code == 303) is is_over

    async def test_when_the_account_gets_another_password_or_is_removed(self, web: Web) -> None:
        await web.account("other")
        for login, end in (
            (LOGIN, web.accounts.set_password(LOGIN, hashed(Secret(b"another four words")))),
            ("other", web.accounts.remove("other")),
        ):
            browser = await web.signed_in(login)
            await end
            assert (await browser.get("/")).status_code == 303


class TestManyAttempts:
    async def test_cost_more_and_more_time_for_the_right_one_too(self, web: Web) -> None:
        browser = web.browser()
        for _ in range(FREE + 1):
            assert (await browser.sign_in(LOGIN, "wrong")).status_code == 403
        answer = await browser.sign_in()
        assert answer.status_code == 429
        assert "Too many sign-ins have failed" in answer.text

    def test_are_counted_by_login_and_address_apart(self) -> None:
        now = [0.0]
        attempts = Attempts(lambda: now[0])
        for _ in range(FREE + 1):
            attempts.failed("address a", "login x")
        assert attempts.pause("address b", "login y") == 0
        assert attempts.pause("address b", "login x") == attempts.pause("address a", "login y") == 2.0
        for _ in range(20):
            attempts.failed("address a", "login z")
        assert attempts.pause("address a") == LONGEST_PAUSE
        now[0] = LONGEST_PAUSE
        assert attempts.pause("address a") == 0
        attempts.succeeded("address a")
        attempts.failed("address a")
        assert attempts.pause("address a") == 0

    def test_are_remembered_within_bounds(self) -> None:
        attempts = Attempts()
        for number in range(20_000):
            attempts.failed(f"address {number}")
        assert len(attempts._failures) == 10_000


class TestPasswords:
    @pytest.mark.parametrize("password", ["", "eleven char", "x" * 1025, b"\xff" * 12])
    def test_that_are_none_are_refused(self, password: Any) -> None:
        octets = password if isinstance(password, bytes) else password.encode()
        with pytest.raises(DirectoryError, match="the password"):
            hashed(Secret(octets))

    async def test_of_nobody_are_never_right(self) -> None:
        passwords = Passwords()
        assert not await passwords.is_right(None, "the password of nobody")
        assert not await passwords.is_right("no hash", "x")
        assert not await passwords.is_right(hashed(Secret(b"x" * 1024)), "x" * 1025)


class TestWhatOnePortalMaySee:
    async def test_is_its_own_and_others_are_not_there(self, web: Web) -> None:
        await web.directory.add_portal("P2")
        await web.account("two", "P2")
        browser = await web.signed_in("two")
        assert (await browser.get("/")).headers["location"] == "/portals/P2"
        assert (await browser.get("/portals/P2")).status_code == 200
        for path in PAGES[1:]:
            assert (await browser.get(path)).status_code == 404
        answer = await browser.post("/portals/P1/settings/email-log/rule", {"rule": "replies_only"})
        assert answer.status_code == 404
        assert (await web.directory.portal("P1")).rule == "all"

    async def test_who_sees_all_chooses(self, web: Web) -> None:
        await web.directory.add_portal("A/B <i>")
        browser = await web.signed_in()
        text = (await browser.get("/")).text
        assert 'href="/portals/P1"' in text
        assert 'href="/portals/A%2FB%20%3Ci%3E"' in text
        assert "A/B &lt;i&gt;" in text

    @pytest.mark.parametrize("path", PAGES)
    async def test_without_signing_in_there_is_nothing(self, web: Web, path: str) -> None:
        assert (await web.browser().get(path)).status_code == 303


class TestTheGate:
    @pytest.mark.parametrize("host", ["evil.example", "onrecord.example:8480", "localhost", ""])
    async def test_refuses_names_that_are_not_ours(self, web: Web, host: str) -> None:
        answer = await web.browser().get("/sign-in", headers={"host": host})
        assert answer.status_code == 421

    @pytest.mark.parametrize(
        ("site", "origin", "status"),
        [
            ("same-origin", None, 303),
            (None, ORIGIN, 303),
            ("same-site", ORIGIN, 403),
            ("cross-site", None, 403),
            ("none", None, 403),
            (None, "https://evil.example", 403),
            (None, "null", 403),
            (None, None, 403),
        ],
    )
    async def test_lets_forms_of_other_sites_change_nothing(
        self, web: Web, site: str | None, origin: str | None, status: int
    ) -> None:
        browser = await web.signed_in()
        headers = {"origin": origin} if origin else {}
        path = "/portals/P1/settings/email-log/rule"
        assert (await browser.post(path, {"rule": "replies_only"}, site=site, **headers)).status_code == status
        rule = (await web.directory.portal("P1")).rule
        assert rule == ("replies_only" if status == 303 else "all")

    @pytest.mark.parametrize("word", ["", "0" * 64, "ü"])
    async def test_a_form_needs_the_word_of_its_session(self, web: Web, word: str) -> None:
        browser = await web.signed_in()
        browser.form_word = word
        answer = await browser.post("/portals/P1/settings/email-log/rule", {"rule": "replies_only"})
        assert answer.status_code == 403
        assert (await web.directory.portal("P1")).rule == "all"

    async def test_the_word_of_one_session_is_of_no_use_in_another(self, web: Web) -> None:
        one, other = await web.signed_in(), await web.signed_in()
        other.form_word = one.form_word
        assert (await other.post("/sign-out")).status_code == 403

    async def test_a_large_body_is_refused_announced_or_not(self, web: Web) -> None:
        browser = await web.signed_in()
        path, large = "/portals/P1/contacts", "x" * 2_000_000
        assert (await browser.post(path, {"address": large})).status_code == 413

        async def body() -> Any:
            for _ in range(40):
                yield b"address=" + b"x" * 50_000

        answer = await browser.http.post(
            path,
            content=body(),
            headers={"sec-fetch-site": "same-origin", "content-type": "application/x-www-form-urlencoded"},
        )
        assert answer.status_code >= 400

    @pytest.mark.parametrize("path", ["/sign-in", "/portals/P1", "/nothing", "/static/style.css", "/healthz"])
    async def test_every_answer_is_hardened(self, web: Web, path: str) -> None:
        answer = await (await web.signed_in()).get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"


async def test_health_is_told_to_anybody(web: Web) -> None:
    browser = web.browser()
    assert [(await browser.get(path)).text for path in ("/healthz", "/readyz")] == ["ok\n", "ok\n"]
