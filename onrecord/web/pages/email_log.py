"""Settings > Objects > Activities > Email Log & Track: which mail is logged, and what would change before it does."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from engine.directory import NeverLogScope, Rule
from onrecord.web.access import AtDesk
from onrecord.web.rendering import page, path_of
from onrecord.web.services import Desk
from store.recording import DAY

__all__ = ["router"]

router = APIRouter(prefix="/portals/{portal}/settings/email-log")

PREVIEW_DAYS = 30
# In the order in which they are shown: name, what it is, what it does when it is on.
SWITCHES = (
    ("log_internal", "Mail among users", "Mail on which everybody is a user is logged."),
    ("log_bulk", "Bulk mail", "Mail that says of itself that it was sent in bulk is logged."),
    ("log_calendar", "Calendar mail", "Invitations and answers to them are logged."),
    ("log_auto_submitted", "Automatic replies", "Out-of-office notes and the like are logged."),
    ("forward_creates_contacts", "Forwards make contacts", "A forward to the forwarding address makes contacts."),
    ("require_same_subject", "Same subject", "A reply joins a thread only under its subject."),
    (
        "require_authenticated_sender",
        "Proof of the sender",
        "Incoming mail is logged only when something proves that its sender sent it.",
    ),
)


class Kind(StrEnum):
    """Which capture address."""

    BCC = "bcc"
    FORWARD = "forward"


@router.get("")
async def show(request: Request, desk: AtDesk, saved: bool = False) -> Response:
    """The settings as they are."""
    return _page(request, desk, saved=saved)


@router.get("/preview")
async def preview(request: Request, desk: AtDesk, rule: Annotated[Rule, Query()]) -> Response:
    """What the rule would have done in the last month, before it is saved."""
    since = desk.services.clock() - PREVIEW_DAYS * DAY
    found = await desk.reevaluation.preview(desk.portal, since=since, rule=rule)
    return page(
        request,
        "rule_preview.html",
        rule=rule,
        days=PREVIEW_DAYS,
        found=found,
        contacts=found.contacts.most_common(20),
        users=found.users.most_common(20),
    )


@router.post("/rule")
async def set_rule(desk: AtDesk, rule: Annotated[Rule, Form()]) -> Response:
    """Chooses the rule, from now on."""
    await desk.directory.set_portal(desk.portal.name, rule=rule)
    return _back(desk)


@router.post("/switches")
async def set_switches(
    desk: AtDesk, never_log_scope: Annotated[NeverLogScope, Form()], on: Annotated[list[str] | None, Form()] = None
) -> Response:
    """Sets all switches: those that are named are on, the others off."""
    named = frozenset(on or ())
    chosen = {name: name in named for name, _, _ in SWITCHES}
    switches = replace(desk.portal.switches, never_log_scope=never_log_scope, **chosen)
    await desk.directory.set_portal(desk.portal.name, switches=switches)
    return _back(desk)


@router.post("/addresses")
async def set_addresses(
    desk: AtDesk, bcc_address: Annotated[str, Form()] = "", forward_address: Annotated[str, Form()] = ""
) -> Response:
    """Sets both capture addresses; an empty one takes it away."""
    await desk.directory.set_portal(
        desk.portal.name, bcc_address=bcc_address.strip(), forward_address=forward_address.strip()
    )
    return _back(desk)


@router.post("/rotate")
async def rotate(desk: AtDesk, kind: Annotated[Kind, Form()]) -> Response:
    """Makes a new capture address; the old one stops at once."""
    await desk.directory.rotate_address(desk.portal.name, kind)
    return _back(desk)


def _page(request: Request, desk: Desk, *, saved: bool) -> Response:
    switches = [(name, title, text, getattr(desk.portal.switches, name)) for name, title, text in SWITCHES]
    return page(request, "email_log.html", rules=Rule, scopes=NeverLogScope, switches=switches, kinds=Kind, saved=saved)


def _back(desk: Desk) -> Response:
    return RedirectResponse(path_of("portals", desk.portal.name, "settings", "email-log") + "?saved=true", 303)
