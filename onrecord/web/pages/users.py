"""Users: whose mail is logged, by which addresses, and how their connected mailboxes are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from onrecord.web.access import AtDesk
from onrecord.web.rendering import page, path_of
from onrecord.web.services import Desk, NotFound
from store.directory import DirectoryError, UserRecord
from store.mailboxes import Mailboxes
from store.sealing import Sealer

__all__ = ["router"]

router = APIRouter(prefix="/portals/{portal}/users")

Lines = Annotated[str, Form(max_length=100_000)]


@router.get("")
async def show_all(request: Request, desk: AtDesk) -> Response:
    """All users of the portal, and the state of every connected mailbox."""
    sealer = Sealer(desk.services.settings.key_ring().read)  # opens nothing: states are not sealed
    mailboxes = await Mailboxes(desk.services.database, sealer).all(desk.portal)
    return page(request, "users.html", users=await desk.directory.users(desk.portal.name), mailboxes=mailboxes)


@router.post("")
async def add(
    desk: AtDesk,
    account: Annotated[str, Form(max_length=320)],
    name: Annotated[str, Form()] = "",
    is_connected: Annotated[bool, Form()] = False,
) -> Response:
    """Adds a user, whose account address is connected, too, if that is wanted."""
    address = account.strip()
    user = await desk.directory.add_user(
        desk.portal.name, address, name=name, connected=[address] if is_connected else []
    )
    return RedirectResponse(_path(desk, user), 303)


async def _user(desk: AtDesk, account: str) -> UserRecord:
    try:
        return await desk.directory.user(desk.portal.name, account)
    except DirectoryError as error:
        raise NotFound(f"{account} is no user of {desk.portal.name}.") from error


User = Annotated[UserRecord, Depends(_user)]


@router.get("/{account}")
async def show(request: Request, desk: AtDesk, user: User) -> Response:
    """One user, with the personal Never Log list."""
    entries = await desk.directory.never_log(desk.portal.name, user=user.account)
    return page(request, "user.html", user=user, entries=entries)


@router.post("/{account}")
async def change(
    desk: AtDesk,
    user: User,
    name: Annotated[str, Form()] = "",
    connected: Lines = "",
    aliases: Lines = "",
    personal_email_access: Annotated[bool, Form()] = False,
    active: Annotated[bool, Form()] = False,
) -> Response:
    """Sets all of it; addresses stand one on a line."""
    await desk.directory.set_user(
        desk.portal.name,
        user.account,
        name=name,
        connected=connected.split(),
        aliases=aliases.split(),
        personal_email_access=personal_email_access,
        active=active,
    )
    return RedirectResponse(_path(desk, user), 303)


@router.post("/{account}/never-log/add")
async def add_never_log(desk: AtDesk, user: User, entry: Annotated[str, Form(max_length=330)]) -> Response:
    """Puts an entry on the user's own list."""
    await desk.directory.add_never_log(desk.portal.name, entry, user=user.account)
    return RedirectResponse(_path(desk, user), 303)


@router.post("/{account}/never-log/remove")
async def remove_never_log(desk: AtDesk, user: User, entry: Annotated[str, Form(max_length=330)]) -> Response:
    """Takes an entry off the user's own list."""
    await desk.directory.remove_never_log(desk.portal.name, entry, user=user.account)
    return RedirectResponse(_path(desk, user), 303)


def _path(desk: Desk, user: UserRecord) -> str:
    return path_of("portals", desk.portal.name, "users", user.account)
