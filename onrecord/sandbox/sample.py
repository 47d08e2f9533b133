"""The sample portal: a few users and contacts, each with what makes one rule visible."""

from __future__ import annotations

from dataclasses import dataclass

from engine.directory import Rule
from engine.secret import Secret
from onrecord.sandbox.ports import IMAP_PROVIDER
from onrecord.sandbox.provider import PASSWORD
from onrecord.web.passwords import hashed
from store.directory import Directory
from store.mailbox_secret import Password
from store.mailboxes import Mailboxes, NewMailbox
from store.web_accounts import WebAccounts

__all__ = ["ADMIN", "ADMIN_PASSWORD", "CONTACTS", "PORTAL", "USERS", "addresses", "connect", "fill", "open_pages"]

PORTAL = "P1"
ADMIN, ADMIN_PASSWORD = "admin", "sandbox sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleUser:
    """A user whose account address may be connected, and why it is here."""

    name: str
    account: str
    aliases: tuple[str, ...] = ()
    is_connected: bool = True
    personal_email_access: bool = True
    active: bool = True
    shows: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleContact:
    """A contact, its owner, and why it is here."""

    name: str
    primary: str
    others: tuple[str, ...] = ()
    owner: str | None = None
    shows: str


USERS = (
    SampleUser(
        name="Ann", account="ann@acme.example", aliases=("sales@acme.example",), shows="connected, with an alias"
    ),
    SampleUser(name="Bob", account="bob@acme.example", shows="connected"),
    SampleUser(name="Cy", account="cy@acme.example", is_connected=False, shows="nothing connected"),
    SampleUser(name="Dee", account="dee@acme.example", personal_email_access=False, shows="gave no access"),
    SampleUser(name="Eve", account="eve@acme.example", active=False, shows="deactivated"),
)
CONTACTS = (
    SampleContact(
        name="Kim", primary="kim@cust.example", others=("kim.k@gmail.com",), owner="ann@acme.example", shows="Ann's"
    ),
    SampleContact(name="Lee", primary="lee@cust.example", owner="bob@acme.example", shows="Bob's"),
    SampleContact(name="Max", primary="max@other.example", shows="nobody's"),
    SampleContact(name="Nia", primary="nia@other.example", owner="eve@acme.example", shows="Eve's, who is deactivated"),
    SampleContact(
        name="Bo", primary="bob@acme.example", owner="ann@acme.example", shows="Bob has a contact record too"
    ),
)


def addresses() -> dict[str, str]:
    """Every address of the sample, and the address of the account it belongs to."""
    found = {each.account: each.account for each in USERS}
    found |= {alias: each.account for each in USERS for alias in each.aliases}
    for contact in CONTACTS:
        for address in (contact.primary, *contact.others):
            found.setdefault(address, contact.primary)
    return found


async def fill(directory: Directory) -> None:
    """Makes the sample portal, unless it is there already."""
    if any(each.name == PORTAL for each in await directory.portals()):
        return
    await directory.add_portal(
        PORTAL, rule=Rule.ALL, bcc_address="log-p1@cap.example", forward_address="fwd-p1@cap.example"
    )
    for user in USERS:
        await directory.add_user(
            PORTAL,
            user.account,
            name=user.name,
            aliases=user.aliases,
            connected=(user.account,) if user.is_connected else (),
            personal_email_access=user.personal_email_access,
            active=user.active,
        )
    for contact in CONTACTS:
        await directory.add_contact(
            PORTAL, contact.primary, others=contact.others, name=contact.name, owner=contact.owner
        )
    await directory.add_never_log(PORTAL, "*@secret.example")


async def connect(directory: Directory, mailboxes: Mailboxes) -> None:
    """Connects the mailboxes of users who have a connected address, unless some are connected already."""
    home = await directory.portal(PORTAL)
    for each in USERS if not await mailboxes.all(home) else ():
        if each.is_connected:
            new = NewMailbox(
                address=each.account,
                server=IMAP_PROVIDER,
                login=each.account,
                mechanism="PLAIN",
                issuer=None,
                secret=Password(Secret(PASSWORD.encode())),
            )
            await mailboxes.connect(directory, home, await directory.user(PORTAL, each.account), new)


async def open_pages(accounts: WebAccounts) -> None:
    """Makes the administrator of the sandbox, unless somebody signs in already."""
    if not await accounts.accounts():
        await accounts.add(ADMIN, hashed(Secret(ADMIN_PASSWORD.encode())))
