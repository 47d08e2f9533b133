"""Connected mailboxes in the store: whose they are, what opens their secrets, and what does not."""

from __future__ import annotations

import base64
import sqlite3
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from engine.secret import Secret
from store.directory import DirectoryError
from store.mailbox_secret import MailboxSecret, Password, Tokens, secret_of, to_octets
from store.mailbox_state import MailboxState
from store.mailboxes import MailboxGone
from store.observed import FolderProgress, Observed
from store.sealing import SealingError, SealingKey

ANN = "ann@acme.example"
TOKENS = Tokens(access=Secret(b"ya29.access"), refresh=Secret(b"1//refresh"), stale_at=10.5, expires_at=20.25)


def password_of(secret: MailboxSecret) -> bytes:
    assert isinstance(secret, Password)
    return secret.password.reveal()


def revealed(tokens: MailboxSecret) -> tuple[Any, ...]:
    assert isinstance(tokens, Tokens)
    return tokens.access.reveal(), tokens.refresh.reveal(), tokens.stale_at, tokens.expires_at


class TestConnecting:
    async def test_a_mailbox_is_kept_with_its_user_and_its_secret(self, stored: Any) -> None:
        record = await stored.connect()
        assert (record.portal, record.user, record.address) == ("P1", "ann@acme.example", "ann@acme.example")
        assert (record.server, record.login, record.mechanism, record.issuer) == (
            "imap", "ann@acme.example", "PLAIN", None,
        )  # fmt: skip
        assert (record.state, record.trouble) == (MailboxState.OK, None)
        assert record.connected_at == record.changed_at == stored.clock.now
        held = await stored.mailboxes.held(record.id)
        assert held.record == record
        assert password_of(held.secret) == b"hunter2"

    async def test_tokens_come_back_as_they_were(self, stored: Any) -> None:
        record = await stored.connect(secret=TOKENS, issuer="google", mechanism="XOAUTH2")
        assert revealed((await stored.mailboxes.held(record.id)).secret) == revealed(TOKENS)

    async def test_one_that_is_connected_again_keeps_its_id_and_is_well(self, stored: Any) -> None:
        first = await stored.connect()
        held = await stored.mailboxes.held(first.id)
        await stored.mailboxes.need_reconnect(first.id, held.version, "gone")
        stored.clock.now += 100
        again = await stored.connect("ANN@acme.example", Password(Secret(b"other")), login="ann", server="new")
        assert again.id == first.id
        assert (again.state, again.trouble, again.login, again.server) == (MailboxState.OK, None, "ann", "new")
        assert again.connected_at == first.connected_at
        assert again.changed_at == stored.clock.now
        assert password_of((await stored.mailboxes.held(first.id)).secret) == b"other"
        assert len(await stored.mailboxes.all()) == 1

    async def test_it_belongs_to_one_user_of_a_portal(self, stored: Any) -> None:
        await stored.connect()
        with pytest.raises(DirectoryError, match=r"connected by the user ann@acme\.example already"):
            await stored.connect(user="bob@acme.example")
        assert [each.user for each in await stored.mailboxes.all()] == ["ann@acme.example"]

    async def test_portals_do_not_see_each_others(self, stored: Any) -> None:
        one = await stored.connect()
        other = await stored.connect(portal="P2", secret=Password(Secret(b"other")))
        assert one.id != other.id
        first, second = [await stored.directory.portal(name) for name in ("P1", "P2")]
        assert [each.id for each in await stored.mailboxes.all(first)] == [one.id]
        assert [each.id for each in await stored.mailboxes.all(second)] == [other.id]
        assert {each.id for each in await stored.mailboxes.all()} == {one.id, other.id}
        await stored.mailboxes.disconnect(stored.directory, first, "ann@acme.example")
        assert [each.id for each in await stored.mailboxes.all()] == [other.id]

    async def test_one_that_is_disconnected_is_gone_and_its_id_is_not_used_again(self, stored: Any) -> None:
        record = await stored.connect()
        home = await stored.directory.portal("P1")
        await stored.mailboxes.disconnect(stored.directory, home, "Ann@Acme.example")
        with pytest.raises(MailboxGone):
            await stored.mailboxes.held(record.id)
        with pytest.raises(DirectoryError, match="onrecord mailbox list"):
            await stored.mailboxes.disconnect(stored.directory, home, "ann@acme.example")
        assert (await stored.connect()).id != record.id

    async def test_processes_are_told_of_connecting_and_disconnecting(self, stored: Any) -> None:
        before = await stored.directory.version()
        await stored.connect()
        await stored.mailboxes.disconnect(stored.directory, await stored.directory.portal("P1"), "ann@acme.example")
        assert await stored.directory.version() == before + 2


class TestHowFarItWasRead:
    """Who may not read a mailbox any more forgets how far that was, so that what comes then is not read later."""

    @pytest_asyncio.fixture
    async def observed(self, stored: Any) -> Observed:
        await stored.connect()
        observed = Observed(stored.database)
        await observed.advance("imap", ANN, "INBOX", FolderProgress(uidvalidity=1, uidnext=7, since=1.0, at=1.0))
        return observed

    async def test_it_is_forgotten_when_the_mailbox_is_disconnected(self, stored: Any, observed: Observed) -> None:
        await stored.mailboxes.disconnect(stored.directory, await stored.directory.portal("P1"), ANN)
        assert await observed.progress("imap", ANN) == {}

    @pytest.mark.parametrize("right", ["personal_email_access", "active"])
    async def test_it_is_forgotten_when_a_right_is_given_again(
        self, stored: Any, observed: Observed, right: str
    ) -> None:
        await stored.directory.set_user("P1", ANN, name="Ann A.")
        await stored.directory.set_user("P1", ANN, **{right: False})
        assert await observed.progress("imap", ANN) != {}
        await stored.directory.set_user("P1", ANN, **{right: True})
        assert await observed.progress("imap", ANN) == {}

    async def test_it_is_forgotten_of_what_was_read_beside_a_client(self, stored: Any) -> None:
        """Nothing is connected, but a connected address was logged in to through us."""
        observed = Observed(stored.database)
        await stored.directory.set_user("P1", ANN, connected=[ANN])
        await observed.advance("imap", ANN, "INBOX", FolderProgress(uidvalidity=1, uidnext=7, since=1.0, at=1.0))
        await stored.directory.set_user("P1", ANN, personal_email_access=False)
        await stored.directory.set_user("P1", ANN, personal_email_access=True)
        assert await observed.progress("imap", ANN) == {}

    async def test_it_is_kept_while_a_user_of_another_portal_lets_it_be_read(
        self, stored: Any, observed: Observed
    ) -> None:
        await stored.connect(portal="P2")
        await stored.directory.set_user("P1", ANN, active=False)
        await stored.directory.set_user("P1", ANN, active=True)
        await stored.mailboxes.disconnect(stored.directory, await stored.directory.portal("P1"), ANN)
        assert await observed.progress("imap", ANN) != {}
        await stored.mailboxes.disconnect(stored.directory, await stored.directory.portal("P2"), ANN)
        assert await observed.progress("imap", ANN) == {}

    async def test_it_is_forgotten_when_the_mailbox_is_connected_at_another_server(
        self, stored: Any, observed: Observed
    ) -> None:
        await stored.connect()
        assert await observed.progress("imap", ANN) != {}
        await stored.connect(server="other")
        assert await observed.progress("other", ANN) == {}
        await stored.connect()
        assert await observed.progress("imap", ANN) == {}

    async def test_it_is_kept_where_a_user_of_another_portal_has_it_connected(
        self, stored: Any, observed: Observed
    ) -> None:
        await stored.connect(portal="P2")
        await stored.connect(server="other")
        assert await observed.progress("imap", ANN) != {}


class TestTheTrail:
    async def test_it_says_who_connected_and_disconnected_what(self, stored: Any) -> None:
        await stored.connect()
        await stored.mailboxes.disconnect(stored.directory, await stored.directory.portal("P1"), "ann@acme.example")
        connected, disconnected = await stored.audit()
        assert (connected.portal, connected.who, connected.action) == ("P1", "admin", "mailbox.connect")
        assert connected.subject == disconnected.subject == "ann@acme.example"
        assert connected.after["user"] == "ann@acme.example"
        assert connected.after["server"] == "imap"
        assert disconnected.action == "mailbox.disconnect"

    async def test_it_says_once_that_a_mailbox_opens_no_more(self, stored: Any) -> None:
        record = await stored.connect()
        version = (await stored.mailboxes.held(record.id)).version
        assert await stored.mailboxes.need_reconnect(record.id, version, "revoked\r\n by its user")
        assert await stored.mailboxes.need_reconnect(record.id, version, "revoked still")
        entry = (await stored.audit())[-1]
        assert (entry.who, entry.action, entry.subject) == ("onrecord", "mailbox.state", "ann@acme.example")
        assert entry.after == {"state": "needs reconnect", "trouble": "revoked by its user"}
        assert len(await stored.audit()) == 2


class TestWhatIsSealed:
    @given(st.binary(max_size=300))
    def test_any_password_is_read_as_it_was_written(self, password: bytes) -> None:
        assert password_of(secret_of(to_octets(Password(Secret(password))))) == password

    @pytest.mark.parametrize("octets", [b"", b"{}", b"[]", b"1", b'"x"', b'{"password": 1}', b'{"access": "hunter2"}'])
    def test_what_no_version_wrote_is_refused_without_being_quoted(self, octets: bytes) -> None:
        with pytest.raises(SealingError) as caught:
            secret_of(Secret(octets))
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None

    async def test_no_file_of_the_store_holds_a_secret_in_any_guise(self, stored: Any) -> None:
        await stored.connect(secret=Password(Secret(b"correct horse battery")))
        await stored.connect("bob@acme.example", TOKENS, issuer="google")
        record = await stored.connect("cy@acme.example", Password(Secret(b"short-lived-staple")))
        await stored.mailboxes.need_reconnect(record.id, 1, "no")
        await stored.mailboxes.disconnect(stored.directory, await stored.directory.portal("P1"), "cy@acme.example")
        everything = stored.octets()
        assert b"bob@acme.example" in everything  # what is no secret is found, so the search works
        for secret in (b"correct horse battery", b"ya29.access", b"1//refresh", b"short-lived-staple"):
            assert secret not in everything
            assert secret.hex().encode() not in everything
            for shift in range(3):
                encoded = base64.b64encode(b"\0" * shift + secret)[4 if shift else 0 : -4]
                assert encoded not in everything
        assert all(each.secret.reveal() not in everything for each in stored.keys)

    async def test_nothing_that_is_printed_shows_a_secret(self, stored: Any) -> None:
        record = await stored.connect()
        other = await stored.connect("bob@acme.example", TOKENS, issuer="google")
        shown = repr([await stored.mailboxes.held(each.id) for each in (record, other)]) + repr(stored.keys)
        for secret in ("hunter2", "ya29", "1//refresh", stored.keys[0].text(), repr(stored.keys[0].secret.reveal())):
            assert secret not in shown

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("login", "mallory"), ("server", "evil"), ("mechanism", "LOGIN"), ("issuer", "evil"),
            ("user", 2), ("portal", 2),
        ],
    )  # fmt: skip
    async def test_a_row_that_was_changed_does_not_open(self, stored: Any, column: str, value: object) -> None:
        record = await stored.connect()
        await stored.tamper(record.id, **{column: value})
        with pytest.raises(SealingError, match="another row") as caught:
            await stored.mailboxes.held(record.id)
        assert "onrecord mailbox connect ann@acme.example" in str(caught.value)
        assert "hunter2" not in str(caught.value)

    async def test_a_secret_that_was_copied_to_another_row_does_not_open(self, stored: Any) -> None:
        mine = await stored.connect()
        yours = await stored.connect("bob@acme.example", Password(Secret(b"of bob")), login="ann@acme.example")
        await stored.tamper(mine.id, secret=(await stored.row(yours.id)).secret)
        with pytest.raises(SealingError, match="another row"):
            await stored.mailboxes.held(mine.id)

    async def test_a_mailbox_whose_secret_does_not_open_can_be_connected_again(self, stored: Any) -> None:
        record = await stored.connect()
        await stored.tamper(record.id, secret=b"rubbish")
        with pytest.raises(SealingError, match="connect it again"):
            await stored.mailboxes.held(record.id)
        assert (await stored.connect()).id == record.id
        assert password_of((await stored.mailboxes.held(record.id)).secret) == b"hunter2"

    async def test_the_row_still_says_what_the_secret_is_bound_to(self, stored: Any) -> None:
        """Of a copy of the database without the keys everything but the secret is to be read."""
        record = await stored.connect()
        connection = sqlite3.connect(next(stored.folder.glob("*.sqlite")))
        found = connection.execute("select portal, id, login, server from connected_mailbox").fetchall()
        connection.close()
        assert found == [(1, record.id, "ann@acme.example", "imap")]


class TestRotation:
    async def test_old_keys_open_until_all_is_sealed_anew(self, stored: Any) -> None:
        records = [await stored.connect(f"{name}@acme.example") for name in ("ann", "bob", "cy")]
        old, new = stored.keys[0], SealingKey.make()
        stored.keys[:] = [new, old]
        await stored.connect("bob@acme.example", Password(Secret(b"new of bob")))
        assert await stored.mailboxes.key_ids() == {old.id, new.id}
        versions = [(await stored.mailboxes.held(each.id)).version for each in records]
        assert await stored.mailboxes.reseal(stored.directory) == 2
        assert await stored.mailboxes.key_ids() == {new.id}
        stored.keys[:] = [new]
        held = [await stored.mailboxes.held(each.id) for each in records]
        assert [password_of(each.secret) for each in held] == [b"hunter2", b"new of bob", b"hunter2"]
        assert [each.version for each in held] == versions
        assert await stored.mailboxes.reseal(stored.directory) == 0

    async def test_one_secret_that_does_not_open_leaves_all_as_they_were(self, stored: Any) -> None:
        for name in ("ann", "bob"):
            record = await stored.connect(f"{name}@acme.example")
        old = stored.keys[0]
        stored.keys.insert(0, SealingKey.make())
        await stored.tamper(record.id, login="mallory")
        with pytest.raises(SealingError, match=r"bob@acme\.example"):
            await stored.mailboxes.reseal(stored.directory)
        assert await stored.mailboxes.key_ids() == {old.id}

    async def test_without_its_key_a_mailbox_says_which_one_is_wanted(self, stored: Any) -> None:
        record = await stored.connect()
        old = stored.keys[0]
        stored.keys[:] = [SealingKey.make()]
        with pytest.raises(SealingError, match=f"{old.id.hex()}.*backup"):
            await stored.mailboxes.held(record.id)

    async def test_the_trail_names_the_key_by_its_id_alone(self, stored: Any) -> None:
        await stored.connect()
        stored.keys.insert(0, SealingKey.make())
        await stored.mailboxes.reseal(stored.directory)
        entry = (await stored.audit())[-1]
        assert (entry.action, entry.after) == ("mailbox.rekey", {"mailboxes": 1, "key": stored.keys[0].id.hex()})


class TestRenewing:
    async def test_one_may_renew_and_nobody_else_until_the_time_is_over(self, stored: Any) -> None:
        record = await stored.connect(secret=TOKENS, issuer="google")
        version = (await stored.mailboxes.held(record.id)).version
        assert await stored.mailboxes.claim_renewal(record.id, version, seconds=60)
        assert not await stored.mailboxes.claim_renewal(record.id, version, seconds=60)
        stored.clock.now += 60
        assert await stored.mailboxes.claim_renewal(record.id, version, seconds=60)

    async def test_what_was_renewed_is_there_with_the_next_version_and_the_claim_is_over(self, stored: Any) -> None:
        record = await stored.connect(secret=TOKENS, issuer="google")
        version = (await stored.mailboxes.held(record.id)).version
        await stored.mailboxes.claim_renewal(record.id, version, seconds=60)
        newer = replace(TOKENS, access=Secret(b"newer"))
        assert await stored.mailboxes.renew(record.id, version, newer)
        held = await stored.mailboxes.held(record.id)
        assert held.version == version + 1
        assert revealed(held.secret) == revealed(newer)
        assert await stored.mailboxes.claim_renewal(record.id, held.version, seconds=60)

    async def test_a_late_answer_does_not_overwrite_what_was_connected_anew(self, stored: Any) -> None:
        record = await stored.connect(secret=TOKENS, issuer="google")
        version = (await stored.mailboxes.held(record.id)).version
        anew = replace(TOKENS, refresh=Secret(b"anew"))
        await stored.connect(secret=anew, issuer="google")
        assert not await stored.mailboxes.renew(record.id, version, TOKENS)
        assert not await stored.mailboxes.need_reconnect(record.id, version, "late")
        assert not await stored.mailboxes.claim_renewal(record.id, version, seconds=60)
        await stored.mailboxes.note_trouble(record.id, version, "late")
        held = await stored.mailboxes.held(record.id)
        assert revealed(held.secret) == revealed(anew)
        assert (held.record.state, held.record.trouble) == (MailboxState.OK, None)

    async def test_a_passing_trouble_is_noted_and_forgotten(self, stored: Any) -> None:
        record = await stored.connect()
        version = (await stored.mailboxes.held(record.id)).version
        for text, kept in (("x" * 1000, "x" * 300), ("away", "away"), (None, None)):
            await stored.mailboxes.note_trouble(record.id, version, text)
            held = await stored.mailboxes.held(record.id)
            assert (held.record.state, held.record.trouble) == (MailboxState.OK, kept)
