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
