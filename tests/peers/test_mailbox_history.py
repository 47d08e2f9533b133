"""What came to a mailbox before it was connected, and whether anything is missing: by the commands, with Dovecot."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from debian_peers import PASSWORD
from mailbox_chain import MailboxChain

pytestmark = [pytest.mark.peers, pytest.mark.asyncio(loop_scope="session")]

KIM, AUNT = "kim@cust.example", "aunt@home.example"
POLL = 0.1
PATIENCE = 120.0


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    output: str
    error: str

    @property
    def json(self) -> Any:
        return json.loads(self.output)


async def onrecord(chain: MailboxChain, *words: str, given: str = "") -> Said:
    """One command on the installation that serves."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "onrecord", "-c", str(chain.served.config), *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ,
    )
    output, error = await process.communicate(given.encode())
    return Said(process.returncode or 0, output.decode(), error.decode())


async def connected(chain: MailboxChain, login: str, *words: str) -> Said:
    """Connects the mailbox of a login, on an installation that has a sealing key."""
    key = chain.served.data / "keys" / "sealing.key"
    if not key.exists():
        assert (await onrecord(chain, "mailbox", "rekey")).status == 0
    said = await onrecord(
        chain,
        *("mailbox", "connect", login, "--user", login, "--provider", "implicit", "--password-stdin", "--json"),
        *words,
        given=PASSWORD,
    )
    assert said.status == 0, said.error
    return said


async def contact_not_to_log(chain: MailboxChain) -> str:
    """A new contact of a domain that is on the Never Log list."""
    address = f"{uuid.uuid4()}@secret.example"
    assert (await onrecord(chain, "contact", "add", address)).status == 0
    return address


async def disconnected(chain: MailboxChain, login: str) -> None:
    """Disconnects the mailbox; back when nobody observes it any more."""
    assert (await onrecord(chain, "mailbox", "disconnect", login)).status == 0
    async with asyncio.timeout(PATIENCE):
        while login.encode() in await chain.dovecot.doveadm("who", "-1"):
            await asyncio.sleep(POLL)


async def contact_barred_for_now(chain: MailboxChain) -> str:
    """A new contact, itself on the Never Log list; `let_in` takes it from there."""
    address = f"{uuid.uuid4()}@later.example"
    assert (await onrecord(chain, "contact", "add", address)).status == 0
    assert (await onrecord(chain, "never-log", "add", address)).status == 0
    return address


async def let_in(chain: MailboxChain, address: str) -> None:
    assert (await onrecord(chain, "never-log", "remove", address)).status == 0


async def reevaluated(chain: MailboxChain, login: str, *words: str) -> dict[str, Any]:
    """What `onrecord reevaluate` did, of each kind what concerns the login; other tests' mail is in the portal too."""
    said = await onrecord(chain, "reevaluate", "--yes", "--json", *words)
    assert said.status == 0, said.error
    done = said.json["done"]
    kinds = ("recorded", "waiting", "missing")
    return {kind: [each for each in done[kind] if each["user"] == login] for kind in kinds}


async def decided(chain: MailboxChain, message_id: str) -> list[tuple[str, str]]:
    found = (await onrecord(chain, "decisions", "--message-id", message_id, "--json")).json
    return [(each["source"], each["reason"]) for each in found]


def mail(login: str, *, author: str = KIM, sent: bool = False) -> tuple[str, bytes]:
    """A message to the login, or from it, and its Message-ID."""
    message_id = f"{uuid.uuid4()}@test.example"
    source, target = (login, author) if sent else (author, login)
    fields = f"From: {source}\r\nTo: {target}\r\nSubject: Offer\r\nMessage-ID: <{message_id}>\r\n"
    return message_id, f"{fields}Date: Tue, 24 Nov 2026 10:00:00 +0100\r\n\r\nHello {uuid.uuid4()}\r\n".encode()


async def delivered(chain: MailboxChain, login: str, folder: str = "INBOX", **kind: Any) -> str:
    message_id, content = mail(login, **kind)
    await chain.dovecot.deliver(login, content, folder)
    return message_id


async def test_what_came_since_a_date_is_logged_on_request(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    wanted = {await delivered(mailboxes, login) for _ in range(25)}
    wanted.add(await delivered(mailboxes, login, "Sent", sent=True))
    for author in (AUNT, await contact_not_to_log(mailboxes)):
        await delivered(mailboxes, login, author=author)
    await delivered(mailboxes, login, "Drafts", sent=True)

    said = await connected(mailboxes, login, "--since", "7d")
    assert said.json["backfilled"] == {"seen": 28, "logged": 26, "not_logged": 2, "failed": 0}
    assert said.error == ""
    assert set(mailboxes.logged(login)) == wanted

    again = await onrecord(mailboxes, "mailbox", "backfill", login, "--since", "7d", "--json")
    assert again.status == 0
    assert set(mailboxes.logged(login)) == wanted  # and none is there twice


async def test_what_is_missing_is_told_and_repaired(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    logged = await delivered(mailboxes, login)
    await connected(mailboxes, login, "--since", "1d")
    await disconnected(mailboxes, login)
    missing = {await delivered(mailboxes, login), await delivered(mailboxes, login, "Sent", sent=True)}
    await delivered(mailboxes, login, author=AUNT)
    await delivered(mailboxes, login, author=await contact_not_to_log(mailboxes))
    await connected(mailboxes, login)

    told = await onrecord(mailboxes, "coverage", "--user", login, "--days", "1", "--json")
    assert told.status == 1
    [mailbox] = told.json["mailboxes"]
    assert {each["message_id"] for each in mailbox.pop("missing")} == missing
    assert mailbox == {
        "address": login,
        "seen": 5,
        "logged": 1,
        "not_logged": {"no_existing_contact": 1, "all_contacts_never_log": 1},
        "repaired": 0,
    }
    assert set(mailboxes.logged(login)) == {logged}

    repaired = await onrecord(mailboxes, "coverage", "--user", login, "--days", "1", "--repair")
    assert repaired.status == 0, repaired.error
    assert set(mailboxes.logged(login)) == missing | {logged}
    whole = await onrecord(mailboxes, "coverage", "--user", login, "--days", "1", "--json")
    assert whole.status == 0
    assert (whole.json["mailboxes"][0]["logged"], whole.json["mailboxes"][0]["missing"]) == (3, [])


async def test_what_was_skipped_then_is_not_missing_now(mailboxes: MailboxChain) -> None:
    """Rules.md 3.6: a contact that was made since changes nothing of what was decided before."""
    login = await mailboxes.new_login()
    author = f"{uuid.uuid4()}@new.example"
    await delivered(mailboxes, login, author=author)
    await connected(mailboxes, login, "--since", "1d")
    assert (await onrecord(mailboxes, "contact", "add", author)).status == 0
    told = await onrecord(mailboxes, "coverage", "--user", login, "--json")
    assert told.status == 0
    assert told.json["mailboxes"][0]["not_logged"] == {"no_existing_contact": 1}


async def test_what_cannot_be_done_is_told_in_one_line(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    said = await onrecord(mailboxes, "coverage", "--user", login)
    assert (said.status, said.error) == (
        1,
        f"{login} has no connected mailbox; connect one with: onrecord mailbox connect\n",
    )
    said = await onrecord(mailboxes, "mailbox", "backfill", login, "--since", "1d")
    assert said.status == 1
    assert "no connected mailbox" in said.error
    await connected(mailboxes, login)
    said = await onrecord(mailboxes, "mailbox", "backfill", login, "--since", "yesterday")
    assert said.status == 2
    assert "is no time" in said.error


async def test_a_message_is_logged_by_hand_and_its_answers_from_then_on(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    message_id = await delivered(mailboxes, login)
    await connected(mailboxes, login)
    assert mailboxes.logged(login) == {}
    said = await onrecord(mailboxes, "log", f"<{message_id}>", "--user", login, "--json")
    assert said.status == 0, said.error
    assert [(each["source"], each["reason"]) for each in said.json["decisions"]] == [("manual", "manual_log")]
    assert said.json["email"]["contacts"] == [KIM]
    assert "a user asked for it to be logged" in said.json["explanation"]
    again = await onrecord(mailboxes, "log", message_id, "--user", login, "--json")
    assert again.status == 0
    assert set(mailboxes.logged(login)) == {message_id}


async def test_what_is_not_logged_by_hand_says_why(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    private = await delivered(mailboxes, login, author=AUNT)
    await connected(mailboxes, login)
    said = await onrecord(mailboxes, "log", private, "--user", login)
    assert said.status == 1
    assert "nobody" in said.output
    assert "is an existing contact" in said.output
    missing = await onrecord(mailboxes, "log", "no-such@id.example", "--user", login)
    assert missing.status == 1
    assert "has a message with the id <no-such@id.example>" in missing.error
    assert (await onrecord(mailboxes, "log", "größe@id.example", "--user", login)).status == 2


async def test_the_folder_for_the_log_is_made_and_read(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    old = await delivered(mailboxes, login)
    await connected(mailboxes, login)
    for _ in range(2):
        said = await onrecord(mailboxes, "mailbox", "log-folder", login)
        assert (said.status, said.output) == (0, "the folder is there: Log to CRM\n"), said.error
    subscribed = await mailboxes.dovecot.doveadm("mailbox", "list", "-s", "-u", login)
    assert b"Log to CRM" in subscribed
    await mailboxes.dovecot.doveadm("copy", "-u", login, "Log to CRM", "mailbox", "INBOX", "all")
    async with asyncio.timeout(PATIENCE):
        while not mailboxes.logged(login):
            await asyncio.sleep(POLL)
    assert set(mailboxes.logged(login)) == {old}
    decisions = (await onrecord(mailboxes, "decisions", "--message-id", old, "--json")).json
    assert [(each["source"], each["reason"]) for each in decisions] == [("manual", "manual_log")]


async def test_what_is_to_be_logged_after_all_is_fetched_from_the_mailbox(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    contact, stranger = await contact_barred_for_now(mailboxes), f"{uuid.uuid4()}@later.example"
    received = await delivered(mailboxes, login, author=contact)
    sent = await delivered(mailboxes, login, "Sent", author=contact, sent=True)
    to_stranger = await delivered(mailboxes, login, "Sent", author=stranger, sent=True)
    await delivered(mailboxes, login, author=AUNT)
    await connected(mailboxes, login, "--since", "1d")
    assert mailboxes.logged(login) == {}
    await let_in(mailboxes, contact)
    assert (await onrecord(mailboxes, "contact", "add", stranger)).status == 0

    done = await reevaluated(mailboxes, login)
    assert (len(done["recorded"]), done["waiting"], done["missing"]) == (3, [], [])
    assert {each["mailbox"] for each in done["recorded"]} == {login}
    logged = mailboxes.logged(login)
    assert {each: direction for each, (direction, _) in logged.items()} == {
        received: "incoming",
        sent: "outgoing",
        to_stranger: "outgoing",
    }
    assert all(each.encode() in content and b"Hello" in content for each, (_, content) in logged.items())
    assert await decided(mailboxes, received) == [("observer", "received_from_contact")]
    assert await decided(mailboxes, sent) == [("observer", "sent_to_contact")]
    emails = {each["email"] for each in done["recorded"]}
    audit = (await onrecord(mailboxes, "audit", "--json")).json
    noted = {each["subject"] for each in audit if each["action"] == "email.reevaluate"}
    assert noted >= {f"email {each}" for each in emails}

    again = await reevaluated(mailboxes, login)
    assert again == {"recorded": [], "waiting": [], "missing": []}
    await onrecord(mailboxes, "mailbox", "backfill", login, "--since", "1d")
    assert mailboxes.logged(login) == logged


async def test_what_no_mailbox_has_is_listed_and_stays_as_it_was(mailboxes: MailboxChain) -> None:
    login, other = await mailboxes.new_login(), await mailboxes.new_login()
    contact = await contact_barred_for_now(mailboxes)
    gone = await delivered(mailboxes, login, "Sent", author=contact, sent=True)
    kept = await delivered(mailboxes, login, "Sent", author=contact, sent=True)
    trashed = await delivered(mailboxes, login, "Sent", author=contact, sent=True)
    unreadable = await delivered(mailboxes, other, "Sent", author=contact, sent=True)
    for each in (login, other):
        await connected(mailboxes, each, "--since", "1d")
    await disconnected(mailboxes, other)
    found = ("mailbox", "Sent", "header", "Message-ID")
    await mailboxes.dovecot.doveadm("expunge", "-u", login, *found, gone)
    await mailboxes.dovecot.doveadm("move", "-u", login, "Trash", *found, trashed)
    await let_in(mailboxes, contact)

    done = await reevaluated(mailboxes, login)
    assert (len(done["recorded"]), done["waiting"], len(done["missing"])) == (1, [], 2)
    assert all(each["contacts"] == [contact] for each in done["missing"])
    assert set(mailboxes.logged(login)) == {kept}
    assert len((await reevaluated(mailboxes, other))["missing"]) == 1
    assert mailboxes.logged(other) == {}
    for each in (gone, unreadable):
        assert await decided(mailboxes, each) == [("observer", "all_contacts_never_log")]
    shown = await onrecord(mailboxes, "reevaluate", "--yes")
    assert "not at hand" in shown.output


async def test_what_two_users_have_is_fetched_once(mailboxes: MailboxChain) -> None:
    first, second = await mailboxes.new_login(), await mailboxes.new_login()
    contact = await contact_barred_for_now(mailboxes)
    message_id, content = mail(f"{first}, {second}", author=contact)
    for login in (first, second):
        await mailboxes.dovecot.deliver(login, content, "INBOX")
        await connected(mailboxes, login, "--since", "1d")
    await let_in(mailboxes, contact)
    await onrecord(mailboxes, "reevaluate", "--yes")
    assert set(mailboxes.logged(first)) | set(mailboxes.logged(second)) == {message_id}
    assert not mailboxes.logged(first).keys() & mailboxes.logged(second).keys()
    assert set(await decided(mailboxes, message_id)) == {("observer", "received_from_contact")}


async def test_mail_that_came_long_before_it_was_seen_is_found_when_asked_for(mailboxes: MailboxChain) -> None:
    login = await mailboxes.new_login()
    contact = await contact_barred_for_now(mailboxes)
    message_id = await delivered(mailboxes, login, "Sent", author=contact, sent=True)
    await connected(mailboxes, login, "--since", "1d")
    await let_in(mailboxes, contact)
    done = await reevaluated(mailboxes, login, "--mail-since", "2099-01-01")
    assert (len(done["missing"]), mailboxes.logged(login)) == (1, {})
    done = await reevaluated(mailboxes, login, "--mail-since", "2d")
    assert (len(done["recorded"]), set(mailboxes.logged(login))) == (1, {message_id})
