"""What a load balancer or a monitor asks: whether the process lives, and whether it can work."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text
from starlette.responses import PlainTextResponse

from onrecord.web.access import InService
from store.database import StoreUnavailable

__all__ = ["router"]

router = APIRouter()


@router.get("/healthz")
async def live() -> PlainTextResponse:
    """The process answers."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def ready(services: InService) -> PlainTextResponse:
    """The database answers, too."""
    try:
        async with services.database.read() as connection:
            await connection.execute(text("select 1 from portal limit 1"))
    except StoreUnavailable:
        return PlainTextResponse("the database does not answer\n", 503)
    return PlainTextResponse("ok\n")
