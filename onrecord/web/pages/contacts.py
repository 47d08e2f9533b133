"""Contacts: finding one, adding one, and the mail that was logged with him."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from onrecord.web.access import AtDesk
from onrecord.web.pages.emails import PAGE, listing
from onrecord.web.rendering import page, path_of
from onrecord.web.services import NotFound
from store.directory import DirectoryError

__all__ = ["router"]

router = APIRouter(prefix="/portals/{portal}/contacts")


@router.get("")
async def show_all(request: Request, desk: AtDesk, q: str = "") -> Response:
    """Those whose name or addresses have words that begin with those of `q`; else the first of all."""
    found = await desk.directory.contacts_like(desk.portal.name, q, limit=PAGE + 1)
    users = await desk.directory.users(desk.portal.name)
    return page(request, "contacts.html", q=q, contacts=found[:PAGE], is_cut=len(found) > PAGE, users=users)


@router.post("")
async def add(
    desk: AtDesk,
    address: Annotated[str, Form()],
    name: Annotated[str, Form()] = "",
    owner: Annotated[str, Form()] = "",
) -> Response:
    """Adds a contact, whose mail is logged from now on."""
    await desk.directory.add_contact(desk.portal.name, address.strip(), name=name, owner=owner or None)
    return RedirectResponse(path_of("portals", desk.portal.name, "contacts", address.strip()), 303)


@router.get("/{address}")
async def show(request: Request, desk: AtDesk, address: str, q: str = "", cursor: str | None = None) -> Response:
    """The contact's timeline, the newest first; of that, what has the words `q`."""
    try:
        contact = await desk.directory.contact(desk.portal.name, address)
    except DirectoryError as error:
        raise NotFound(f"{address} is on no contact of {desk.portal.name}.") from error
    return page(request, "contact.html", contact=contact, **await listing(desk, q, cursor, contact=contact.id))
