"""Where one comes in: the portal, or the choice of one."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from onrecord.web.access import InService, SignedIn
from onrecord.web.rendering import page, path_of

__all__ = ["router"]

router = APIRouter()


@router.get("/")
async def home(request: Request, services: InService, signed: SignedIn) -> Response:
    """The log of the only portal there is to see; else all of them to choose from."""
    portals = await services.portals(signed.account)
    if len(portals) == 1:
        return RedirectResponse(path_of("portals", portals[0].name), 303)
    return page(request, "portals.html", portals=portals)
