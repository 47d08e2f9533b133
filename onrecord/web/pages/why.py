"""Why? Every decision about a message, by its Message-ID or by an address that it concerned."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from engine.explanation import explain
from onrecord.telling import tell
from onrecord.web.access import AtDesk
from onrecord.web.pages.emails import PAGE
from onrecord.web.rendering import page
from store.reading import DecisionRecord

__all__ = ["router"]

router = APIRouter(prefix="/portals/{portal}/why")


@router.get("")
async def show(request: Request, desk: AtDesk, message_id: str = "", address: str = "") -> Response:
    """What was decided of this message, or of the last ones with this address; else the last decisions of all."""
    text = ""
    if message_id.strip():
        found = await desk.reading.explain(desk.portal.id, message_id)
        text, decisions = tell(found), list(found.decisions)
    else:
        asked = address.strip() or None
        decisions = await desk.reading.decisions(desk.portal.id, address=asked, limit=PAGE)
    rows: list[tuple[DecisionRecord, str]] = [(each, explain(each.value)) for each in decisions]
    return page(request, "why.html", message_id=message_id, address=address, text=text, rows=rows, shown=PAGE)
