"""The log: what was logged, one email with all that is known of it, and what people change of it by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from onrecord.telling import tell
from onrecord.web.access import AtDesk
from onrecord.web.downloads import download_headers, message_headers
from onrecord.web.mail_body import FRAME_HEADERS, FRAME_SANDBOX
from onrecord.web.rendering import page, path_of
from onrecord.web.services import Desk, NotFound
from store.corrections import Corrections
from store.reading import EmailRecord
from store.search import Search
from store.search_words import QueryRefused

__all__ = ["PAGE", "listing", "router"]

router = APIRouter(prefix="/portals/{portal}")

PAGE = 50  # rows of a listing


class Change(StrEnum):
    """What is done to one email by hand."""

    REASSIGN = "reassign"
    UNLINK = "unlink"
    ADD_CONTACT = "add-contact"
    STOP_THREAD = "stop-thread"
    RESUME_THREAD = "resume-thread"
    DELETE = "delete"


def before(cursor: str | None) -> tuple[float, int] | None:
    """Where the page before ended. Raises `NotFound` when that is none."""
    if not cursor:
        return None
    at, _, identifier = cursor.partition("_")
    try:
        return float(at), int(identifier)
    except ValueError as error:
        raise NotFound("That is no place in the log; go back to its beginning.") from error


@router.get("")
async def show_log(request: Request, desk: AtDesk, q: str = "", cursor: str | None = None) -> Response:
    """What was logged, the newest first; of that, what has the words `q`."""
    return page(request, "log.html", **await listing(desk, q, cursor))


async def listing(desk: Desk, q: str, cursor: str | None, *, contact: int | None = None) -> dict[str, Any]:
    """A page of emails, as templates show it: `emails`, `found` by their ids where words were searched, `more` where
    the next page begins ("" for nowhere), `q`, and in `trouble` why it could not be searched.
    """
    shown: dict[str, Any] = {"q": q, "emails": [], "found": {}, "more": "", "trouble": ""}
    if not q.strip():
        emails = await desk.reading.emails(desk.portal.id, contact=contact, before=before(cursor), limit=PAGE + 1)
        return shown | {"emails": emails[:PAGE], "more": after(emails)}
    last = int(cursor) if cursor and cursor.isdecimal() else None
    search = Search(desk.services.database)
    try:
        found = await search.emails(desk.portal.id, q, contact=contact, before=last, limit=PAGE + 1)
    except QueryRefused as error:
        return shown | {"trouble": str(error)}
    more = str(found[PAGE - 1].email.id) if len(found) > PAGE else ""
    rows = found[:PAGE]
    return shown | {
        "emails": [each.email for each in rows],
        "found": {each.email.id: each for each in rows},
        "more": more,
    }


async def _email(desk: AtDesk, identifier: int) -> EmailRecord:
    found = await desk.reading.email(identifier, portal=desk.portal.id)
    if found is None:
        raise NotFound(f"There is no email {identifier} in the log of {desk.portal.name}.")
    return found


Email = Annotated[EmailRecord, Depends(_email)]


@router.get("/emails/{identifier}")
async def show(request: Request, desk: AtDesk, email: Email) -> Response:
    """One email, why it was logged, and its thread."""
    reading = desk.reading
    found = await reading.explain(desk.portal.id, email.message_id) if email.message_id else None
    return page(
        request,
        "email.html",
        email=email,
        why=tell(found) if found is not None else "",
        shown=await desk.services.bodies.document(email.html, email.text),
        sandbox=FRAME_SANDBOX,
        thread=await reading.emails(desk.portal.id, thread=email.thread, limit=PAGE),
        users=await desk.directory.users(desk.portal.name),
        changes=Change,
    )


@router.get("/emails/{identifier}/raw")
async def raw(desk: AtDesk, email: Email) -> Response:
    """The octets as they passed."""
    return StreamingResponse(desk.reading.content(email.id), headers=message_headers(name=email.subject))


@router.get("/emails/{identifier}/body")
async def body(desk: AtDesk, email: Email) -> Response:
    """What was written, for a frame that can do nothing."""
    shown = await desk.services.bodies.document(email.html, email.text)
    return Response(shown.html, headers=FRAME_HEADERS | {"X-Frame-Options": "SAMEORIGIN"})


@router.get("/emails/{identifier}/attachments/{number}")
async def attachment(desk: AtDesk, email: Email, number: int) -> Response:
    """An attachment, to be saved and never opened here."""
    found = email.attachments[number] if 0 <= number < len(email.attachments) else None
    if found is None or found.content is None:
        raise NotFound("This attachment is not kept.")
    headers = download_headers(name=found.name, kind=found.type)
    return StreamingResponse(desk.reading.octets(desk.portal.id, found.content), headers=headers)


@router.post("/emails/{identifier}")
async def change(
    desk: AtDesk,
    email: Email,
    change: Annotated[Change, Form()],
    user: Annotated[str, Form()] = "",
    contact: Annotated[str, Form()] = "",
) -> Response:
    """Changes the email by hand; captures that come later do not undo it."""
    corrections = Corrections(desk.services.database, desk.directory)
    changes: dict[Change, Callable[[], Awaitable[object]]] = {
        Change.REASSIGN: lambda: corrections.reassign(email.id, user),
        Change.UNLINK: lambda: corrections.unlink(email.id, contact),
        Change.ADD_CONTACT: lambda: corrections.add_contact(email.id, contact),
        Change.STOP_THREAD: lambda: corrections.stop_thread(email.id),
        Change.RESUME_THREAD: lambda: corrections.resume_thread(email.id),
        Change.DELETE: lambda: corrections.delete(email.id),
    }
    await changes[change]()
    is_gone = change is Change.DELETE
    return RedirectResponse(_path(desk) if is_gone else _path(desk, "emails", email.id), 303)


def _path(desk: Desk, *parts: object) -> str:
    return path_of("portals", desk.portal.name, *parts)


def after(found: list[EmailRecord]) -> str:
    """Where the next page begins; "" when there is none."""
    last = found[PAGE - 1] if len(found) > PAGE else None
    return f"{last.at!r}_{last.id}" if last is not None else ""
