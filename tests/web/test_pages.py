"""What the pages show and change, over the real log."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from log_writer import message
from sqlalchemy import select
from web_pages import HASH_KEY, Browser, Web

from store import schema
from store.audit import audit_entries
from store.reading import Reading

HOSTILE = "<script>alert(1)</script>\"'&\u202egnp.exe\x1b[31m"
SETTINGS = "/portals/P1/settings/email-log"
NEVER_LOG = "/portals/P1/settings/never-log"


async def logged(web: Web, number: int = 1, **more: Any) -> int:
    """An email of Ann to Kim in the log; its id."""
    await web.writer.passes(message(message_id=f"<{number}@acme.example>", **more))
    async with web.database.read() as connection:
        ids = (await connection.scalars(select(schema.email.c.id).order_by(schema.email.c.id))).all()
    return int(ids[-1])


class TestTheRule:
    async def test_what_would_change_is_shown_before_it_is_saved(self, web: Web, browser: Browser) -> None:
        await web.directory.set_portal("P1", rule="replies_only")
        web.clock[0] = time.time()
        await web.writer.passes(message())
        text = (await browser.get(f"{SETTINGS}/preview?rule=all")).text
        assert "Log all emails: what would change" in text
        assert re.search(r"Not logged, and would be</dt><dd>1<", text)
        assert "kim@cust.example" in text
        assert (await web.directory.portal("P1")).rule == "replies_only"
        answer = await browser.post(f"{SETTINGS}/rule", {"rule": "all"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"{SETTINGS}?saved=true")
        assert (await web.directory.portal("P1")).rule == "all"
        assert 'value="all" checked' in (await browser.get(SETTINGS)).text

    async def test_every_change_is_in_the_audit_trail_by_login(self, web: Web, browser: Browser) -> None:
        await browser.post(f"{SETTINGS}/rule", {"rule": "replies_only"})
        entry = (await audit_entries(web.database))[0]
        assert (entry.who, entry.action, entry.after) == ("admin", "portal.set", {"rule": "replies_only"})
        assert "replies_only" in (await browser.get("/portals/P1/audit")).text

    @pytest.mark.parametrize("rule", ["some", ""])
    async def test_what_is_no_rule_is_refused_with_its_name(self, browser: Browser, rule: str) -> None:
        answer = await browser.post(f"{SETTINGS}/rule", {"rule": rule})
        assert answer.status_code == 422
        assert "Look at: rule." in answer.text

    async def test_switches_that_are_not_named_are_off(self, web: Web, browser: Browser) -> None:
        fields = {"on": ["log_internal", "require_same_subject"], "never_log_scope": "message"}
        assert (await browser.post(f"{SETTINGS}/switches", fields)).status_code == 303
        switches = (await web.directory.portal("P1")).switches
        assert switches.log_internal
        assert switches.require_same_subject
        assert not switches.log_bulk
        assert switches.never_log_scope == "message"
        text = (await browser.get(SETTINGS)).text
        assert text.count('name="on"') == 7
        assert 'value="log_internal" checked' in text
        assert 'value="log_bulk" checked' not in text

    async def test_capture_addresses_are_set_taken_away_and_made_anew(self, web: Web, browser: Browser) -> None:
        await browser.post(f"{SETTINGS}/addresses", {"bcc_address": "new@cap.example", "forward_address": ""})
        portal = await web.directory.portal("P1")
        assert (portal.bcc_address, portal.forward_address) == ("new@cap.example", None)
        await browser.post(f"{SETTINGS}/rotate", {"kind": "bcc"})
        assert (await web.directory.portal("P1")).bcc_address not in ("new@cap.example", None)
        answer = await browser.post(f"{SETTINGS}/rotate", {"kind": "forward"})
        assert answer.status_code == 400
        assert "has no such address yet" in answer.text
        answer = await browser.post(f"{SETTINGS}/addresses", {"bcc_address": "no address"})
        assert answer.status_code == 400


class TestNeverLog:
    async def test_an_entry_says_what_it_covers_and_may_count_for_the_past(self, web: Web, browser: Browser) -> None:
        await logged(web)
        text = (await browser.get(f"{NEVER_LOG}/add?entry=cust.example")).text
        assert "In the log is 1 email with nobody else" in text
        await browser.post(f"{NEVER_LOG}/add", {"entry": "max@other.example"})
        assert "Offer" in (await browser.get("/portals/P1")).text
        await browser.post(f"{NEVER_LOG}/add", {"entry": "cust.example", "history": "true"})
        assert "Offer" not in (await browser.get("/portals/P1")).text
        await browser.post(f"{NEVER_LOG}/remove", {"entry": "cust.example"})
        assert await web.directory.never_log("P1") == ["*@secret.example", "max@other.example"]

    @pytest.mark.parametrize(
        ("user", "address", "said"),
        [
            ("ann@acme.example", "kim@cust.example", "ann@acme.example sent it to kim@cust.example"),
            ("ann@acme.example", "who@else.example", "nobody it was sent to is an existing contact"),
            ("dee@acme.example", "kim@cust.example", "dee@acme.example has not given access to personal email"),
            ("eve@acme.example", "kim@cust.example", "eve@acme.example is deactivated"),
            ("ann@acme.example", "no address", "no address"),
        ],
    )
    async def test_it_tells_what_the_engine_would_decide(
        self, browser: Browser, user: str, address: str, said: str
    ) -> None:
        assert said in (await browser.get(NEVER_LOG, params={"user": user, "address": address})).text

    async def test_asking_decides_nothing(self, web: Web, browser: Browser) -> None:
        await browser.get(NEVER_LOG, params={"user": "ann@acme.example", "address": "kim@cust.example"})
        async with web.database.read() as connection:
            assert (await connection.execute(select(schema.decision))).all() == []


class TestTheLog:
    async def test_shows_an_email_with_its_reason_and_thread(self, web: Web, browser: Browser) -> None:
        email = await logged(web, subject="Offer for Kim", body="Dear Kim\r\n")
        await logged(web, 2, subject="Re: Offer for Kim", more="In-Reply-To: <1@acme.example>\r\n")
        assert "Offer for Kim" in (await browser.get("/portals/P1")).text
        text = (await browser.get(f"/portals/P1/emails/{email}")).text
        assert "ann@acme.example sent it to kim@cust.example" in text
        assert "Re: Offer for Kim" in text
        assert "Dear Kim" in (await browser.get(f"/portals/P1/emails/{email}/body")).text
        raw = await browser.get(f"/portals/P1/emails/{email}/raw")
        assert raw.headers["content-disposition"].startswith("attachment")
        assert raw.headers["content-type"] == "application/octet-stream"
        assert raw.content == message(subject="Offer for Kim", body="Dear Kim\r\n")

    async def test_what_strangers_wrote_stays_text(self, web: Web, browser: Browser) -> None:
        content = message(subject="x").replace(b"Subject: x", f"Subject: {HOSTILE}".encode())
        await web.writer.passes(content.replace(b"Hello", HOSTILE.encode()))
        for path in ("/portals/P1", "/portals/P1/emails/1", "/portals/P1/contacts/kim@cust.example"):
            text = (await browser.get(path)).text
            assert "<script" not in text
            assert "&lt;script&gt;" in text
            assert not set(text) & {"\u202e", "\x1b"}

    async def test_html_is_shown_in_a_frame_that_can_do_nothing(self, web: Web, browser: Browser) -> None:
        html = '<p onclick="x()">Dear <b>Kim</b><script>x()</script><img src="https://evil.example/seen.png">'
        await web.writer.passes(message(body=html, more="MIME-Version: 1.0\r\nContent-Type: text/html\r\n"))
        page = (await browser.get("/portals/P1/emails/1")).text
        assert re.search(r'<iframe [^>]*sandbox="allow-popups allow-popups-to-escape-sandbox"', page)
        assert "nothing is loaded from elsewhere" in page
        answer = await browser.get("/portals/P1/emails/1/body")
        assert "<b>Kim</b>" in answer.text
        assert not [each for each in ("<script", "onclick", "evil.example") if each in answer.text]
        assert "sandbox allow-popups" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"

    async def test_attachments_are_only_saved(self, web: Web, browser: Browser) -> None:
        more = 'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
        body = (
            "--b\r\n\r\nSee this\r\n--b\r\nContent-Type: text/html\r\n"
            'Content-Disposition: attachment; filename="../../x.html"\r\n\r\n<script>x()</script>\r\n--b--\r\n'
        )
        await web.writer.passes(message(body=body, more=more))
        assert "/portals/P1/emails/1/attachments/0" in (await browser.get("/portals/P1/emails/1")).text
        answer = await browser.get("/portals/P1/emails/1/attachments/0")
        assert answer.content == b"<script>x()</script>"
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert ".." not in answer.headers["content-disposition"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        for number in (1, -1, 99):
            assert (await browser.get(f"/portals/P1/emails/1/attachments/{number}")).status_code == 404

    async def test_is_read_page_by_page_without_loss(self, web: Web, browser: Browser) -> None:
        for number in range(120):
            await logged(web, number, subject=f"Mail {number:03}")
        seen: list[str] = []
        path = "/portals/P1"
        while path:
            text = (await browser.get(path)).text
            seen += re.findall(r">(Mail \d+)<", text)
            more = re.search(r'href="(/portals/P1\?cursor=[^"]+)"', text)
            path = more[1] if more else ""
        assert seen == [f"Mail {number:03}" for number in reversed(range(120))]
        assert (await browser.get("/portals/P1?cursor=x_y")).status_code == 404

    async def test_is_changed_by_hand(self, web: Web, browser: Browser) -> None:
        email = f"/portals/P1/emails/{await logged(web)}"
        for fields in (
            {"change": "reassign", "user": "bob@acme.example"},
            {"change": "add-contact", "contact": "lee@cust.example"},
            {"change": "unlink", "contact": "kim@cust.example"},
            {"change": "stop-thread"},
        ):
            assert (await browser.post(email, fields)).headers["location"] == email
        record = await Reading(web.database, HASH_KEY).email(1)
        assert record is not None
        assert (record.user, record.contacts) == ("bob@acme.example", ("lee@cust.example",))
        assert (await browser.post(email, {"change": "delete"})).headers["location"] == "/portals/P1"
        assert (await browser.get(email)).status_code == 404
        actions = [each.action for each in await audit_entries(web.database)][:5]
        assert actions == [
            "email.delete",
            "email.stop_thread",
            "email.unlink",
            "email.add_contact",
            "email.reassign",
        ]

    async def test_of_another_portal_cannot_be_reached(self, web: Web) -> None:
        email = await logged(web)
        await web.directory.add_portal("P2")
        browser = await web.signed_in()
        assert (await browser.get(f"/portals/P2/emails/{email}")).status_code == 404
        assert (await browser.get(f"/portals/P2/emails/{email}/raw")).status_code == 404
        assert (await browser.post(f"/portals/P2/emails/{email}", {"change": "delete"})).status_code == 404
        assert (await browser.get(f"/portals/P1/emails/{email}")).status_code == 200


class TestContacts:
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("kim", ["kim@cust.example"]),
            ("KIM.K@", ["kim@cust.example"]),
            ("Bo", ["bob@acme.example"]),
            ("%", []),
            ("_", []),
            ("cust", ["kim@cust.example", "lee@cust.example"]),
        ],
    )
    async def test_are_found_by_name_or_address(self, browser: Browser, asked: str, found: list[str]) -> None:
        text = (await browser.get("/portals/P1/contacts", params={"q": asked})).text
        assert re.findall(r'href="/portals/P1/contacts/([^"]+)"', text) == [each.replace("@", "%40") for each in found]

    async def test_are_added_with_an_owner(self, web: Web, browser: Browser) -> None:
        fields = {"address": " Zoe@New.example", "name": "Zoe", "owner": "ann@acme.example"}
        answer = await browser.post("/portals/P1/contacts", fields)
        assert "Zoe" in (await browser.get(answer.headers["location"])).text
        contact = await web.directory.contact("P1", "zoe@new.example")
        assert (contact.name, contact.owner) == ("Zoe", "ann@acme.example")
        assert (await browser.post("/portals/P1/contacts", fields)).status_code == 400

    async def test_have_a_timeline_of_their_own_mail(self, web: Web, browser: Browser) -> None:
        await logged(web, subject="With Kim")
        await logged(web, 2, to="lee@cust.example", subject="With Lee")
        text = (await browser.get("/portals/P1/contacts/kim.k@gmail.com")).text
        assert "With Kim" in text
        assert "With Lee" not in text
        assert (await browser.get("/portals/P1/contacts/nobody@else.example")).status_code == 404


class TestUsers:
    async def test_are_added_and_changed_as_a_whole(self, web: Web, browser: Browser) -> None:
        answer = await browser.post("/portals/P1/users", {"account": "Zoe@acme.example", "is_connected": "true"})
        assert answer.headers["location"] == "/portals/P1/users/Zoe%40acme.example"
        text = (await browser.get(answer.headers["location"])).text
        assert re.search(r'name="personal_email_access" value="true" checked', text)
        fields = {"name": "Zoe", "connected": "zoe@acme.example\r\nzoe@gmail.com\r\n", "aliases": "", "active": "true"}
        await browser.post(answer.headers["location"], fields)
        user = await web.directory.user("P1", "zoe@acme.example")
        assert (user.name, user.connected, user.active) == ("Zoe", ("zoe@acme.example", "zoe@gmail.com"), True)
        assert not user.personal_email_access
        assert "zoe@gmail.com" in (await browser.get("/portals/P1/users")).text

    @pytest.mark.parametrize(
        ("path", "fields", "status"),
        [
            ("", {"account": "no address"}, 400),
            ("", {"account": "ann@acme.example"}, 400),
            ("/ann@acme.example", {"connected": "bob@acme.example"}, 400),
            ("/nobody@acme.example", {}, 404),
            ("/ann@acme.example/never-log/add", {"entry": "no entry at all"}, 400),
            ("/ann@acme.example/never-log/remove", {"entry": "x.example"}, 400),
        ],
    )
    async def test_what_cannot_be_is_refused_and_changes_nothing(
        self, web: Web, browser: Browser, path: str, fields: dict[str, str], status: int
    ) -> None:
        before = await web.directory.users("P1")
        assert (await browser.post(f"/portals/P1/users{path}", fields)).status_code == status
        assert await web.directory.users("P1") == before

    async def test_have_a_never_log_list_of_their_own(self, web: Web, browser: Browser) -> None:
        path = "/portals/P1/users/ann@acme.example"
        await browser.post(f"{path}/never-log/add", {"entry": "cust.example"})
        assert "cust.example" in (await browser.get(path)).text
        asked = {"user": "ann@acme.example", "address": "kim@cust.example"}
        assert "on the personal Never Log list of ann@acme.example" in (await browser.get(NEVER_LOG, params=asked)).text
        await browser.post(f"{path}/never-log/remove", {"entry": "cust.example"})
        assert await web.directory.never_log("P1", user="ann@acme.example") == []


class TestWhy:
    async def test_a_message_is_explained_by_its_id(self, web: Web, browser: Browser) -> None:
        await web.writer.passes(message(to="who@else.example"))
        text = (await browser.get("/portals/P1/why", params={"message_id": "<1@acme.example>"})).text
        assert "nobody it was sent to is an existing contact" in text
        assert "no_existing_contact" in text
        text = (await browser.get("/portals/P1/why", params={"address": "who@else.example"})).text
        assert "no_existing_contact" in text
        assert "no_existing_contact" in (await browser.get("/portals/P1/why")).text

    async def test_what_nobody_knows_is_said_so(self, browser: Browser) -> None:
        text = (await browser.get("/portals/P1/why", params={"message_id": "x@y"})).text
        assert "Nothing is known of a message with the id &lt;x@y&gt;" in text


class TestTroubles:
    async def test_a_store_that_is_away_is_said_without_more(self, web: Web, browser: Browser) -> None:
        await web.database.close()
        path = web.services.settings.data / "onrecord.sqlite"
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        answer = await browser.get("/portals/P1")
        assert answer.status_code == 503
        assert "The database does not answer now." in answer.text
        assert (await browser.get("/readyz")).status_code == 503
        assert (await browser.get("/healthz")).status_code == 200

    async def test_a_fault_of_ours_tells_nothing_of_the_request(
        self, web: Web, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onrecord.web.pages.why.tell", lambda found: 1 / 0)
        answer = await browser.get("/portals/P1/why", params={"message_id": "secret@x"})
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "ZeroDivision" not in answer.text


class TestSearch:
    async def test_the_log_shows_what_was_found_and_where(self, web: Web, browser: Browser) -> None:
        await logged(web, 1, subject=HOSTILE, body="The lantern & <b>light</b>\r\n")
        await logged(web, 2, subject="A lantern")
        text = (await browser.get("/portals/P1?q=lantern")).text
        assert "A <mark>lantern</mark></a>" in text
        assert "The <mark>lantern</mark> &amp; &lt;b&gt;light" in text
        assert "<script>alert" not in text
        text = (await browser.get("/portals/P1/contacts/kim@cust.example?q=light")).text
        assert "<mark>light</mark>" in text
        assert "A lantern" not in text

    async def test_pages_of_what_was_found_follow_each_other(self, web: Web, browser: Browser) -> None:
        for number in range(1, 53):
            await logged(web, number, subject=f"Tide {number}")
        text = (await browser.get("/portals/P1?q=tide&x")).text
        assert "</mark> 3</a>" in text
        assert "</mark> 2</a>" not in text
        (more,) = re.findall(r'href="(/portals/P1\?q=tide&amp;cursor=\d+)"', text)
        text = (await browser.get(more.replace("&amp;", "&"))).text
        assert re.findall(r"</mark> (\d+)</a>", text) == ["2", "1"]

    @pytest.mark.parametrize("page", ["/portals/P1", "/portals/P1/contacts/kim@cust.example"])
    async def test_what_cannot_be_searched_for_says_why(self, browser: Browser, page: str) -> None:
        text = (await browser.get(f"{page}?q=-")).text
        assert '<strong role="alert">Write at least one word that is to be found.</strong>' in text
        assert "has all of that" not in text

    async def test_nothing_found_is_said(self, web: Web, browser: Browser) -> None:
        await logged(web)
        assert "No mail in the log has all of that." in (await browser.get("/portals/P1?q=nowhere")).text
        assert (
            "No contact has a name or an address with “nobody”"
            in (await browser.get("/portals/P1/contacts?q=nobody")).text
        )
