"""Who changed what."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request
from starlette.responses import Response

from onrecord.web.access import AtDesk
from onrecord.web.rendering import page
from store.audit import audit_entries

__all__ = ["router"]

router = APIRouter(prefix="/portals/{portal}/audit")

SHOWN = 200


@router.get("")
async def show(request: Request, desk: AtDesk) -> Response:
    """The last changes of the portal."""
    entries = await audit_entries(desk.services.database, desk.portal.id, limit=SHOWN)
    rows = [(each, _text(each.before), _text(each.after)) for each in entries]
    return page(request, "audit.html", rows=rows, shown=SHOWN)


def _text(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)
