"""Never Log: the portal's list, and what would be done with mail to somebody."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from engine import decide, explain, question, read
from engine.capture import Capture
from engine.decision import Source
from onrecord.web.access import AtDesk
from onrecord.web.rendering import page, path_of
from onrecord.web.services import Desk
from store.directory_record import DirectoryError, checked_address
from store.lookups import Lookups
from store.never_log_history import NeverLogHistory

__all__ = ["router"]

router = APIRouter(prefix="/portals/{portal}/settings/never-log")


@router.get("")
async def show(request: Request, desk: AtDesk, user: str = "", address: str = "") -> Response:
    """The list, and the answer where somebody asks what would be done."""
    trouble = outgoing = incoming = ""
    if address:
        try:
            outgoing, incoming = await _would(desk, user, address)
        except DirectoryError as error:
            trouble = str(error)
    return page(
        request,
        "never_log.html",
        entries=await desk.directory.never_log(desk.portal.name),
        users=await desk.directory.users(desk.portal.name),
        user=user,
        address=address,
        trouble=trouble,
        outgoing=outgoing,
        incoming=incoming,
    )


@router.get("/add")
async def preview(request: Request, desk: AtDesk, entry: str) -> Response:
    """What an entry would take out of the log, before it is put on the list."""
    plan = await NeverLogHistory(desk.services.database, desk.directory).plan(desk.portal, entry)
    return page(request, "never_log_add.html", entry=entry, plan=plan)


@router.post("/add")
async def add(
    desk: AtDesk, entry: Annotated[str, Form(max_length=330)], history: Annotated[bool, Form()] = False
) -> Response:
    """Puts an entry on the list; with `history` it counts for what is logged, too."""
    spelt = await desk.directory.add_never_log(desk.portal.name, entry)
    if history:
        past = NeverLogHistory(desk.services.database, desk.directory)
        await past.apply(desk.portal, spelt, await past.plan(desk.portal, spelt))
    return _back(desk)


@router.post("/remove")
async def remove(desk: AtDesk, entry: Annotated[str, Form(max_length=330)]) -> Response:
    """Takes an entry off the list."""
    await desk.directory.remove_never_log(desk.portal.name, entry)
    return _back(desk)


async def _would(desk: Desk, user: str, address: str) -> tuple[str, str]:
    """The decisions on a message of the user to the address, and of one from there, as the rules are now.

    Raises `DirectoryError` when one of both is none.
    """
    home = desk.portal
    known = await desk.directory.user(home.name, user)
    mine = known.connected[0] if known.connected else known.account
    other = checked_address(address)
    sent = Capture(source=Source.RELAY, login=mine, recipients=(other,))
    received = Capture(source=Source.OBSERVER, mailbox=mine)
    return await _decided(desk, sent, mine, other), await _decided(desk, received, other, mine)


async def _decided(desk: Desk, capture: Capture, author: str, recipient: str) -> str:
    message = read(f"From: <{author}>\r\nTo: <{recipient}>\r\nMessage-ID: <would@be.invalid>\r\n\r\n".encode())
    lookups = Lookups(desk.services.database, desk.services.settings.bell, desk.services.hash_key)
    for answer in await lookups.ask(question(capture, message)):
        if answer.portal.id == desk.portal.id and answer.users:
            return explain(decide(capture, message, answer))
    return "Not logged: the user has no connected address, so no mail of this person is looked at."


def _back(desk: Desk) -> Response:
    return RedirectResponse(path_of("portals", desk.portal.name, "settings", "never-log"), 303)
