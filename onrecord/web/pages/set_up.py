"""Setting up a mail client: what to type where, and documents that some clients fetch or take instead.

Everything comes from the one table of our listeners (`onrecord.web.autoconfig`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from certs import client_context
from onrecord.web.access import AtDesk
from onrecord.web.autoconfig import NotOffered, apple, diagnose, dns, find_server, offer_for, servers, servers_for
from onrecord.web.rendering import page
from onrecord.web.services import Desk, NotFound
from store.directory import DirectoryError, UserRecord

__all__ = ["router"]

router = APIRouter(prefix="/portals/{portal}/set-up")


@router.get("/{account}")
async def show(request: Request, desk: AtDesk, account: str) -> Response:
    """What this user types into a mail client."""
    return await _page(request, desk, await _user(desk, account), finding="")


@router.post("/{account}")
async def test(request: Request, desk: AtDesk, account: str, server: Annotated[str, Form(max_length=300)]) -> Response:
    """Connects as a mail client does, and says in plain words what is wrong."""
    user = await _user(desk, account)
    host, _, port = server.rpartition(":")
    row = find_server(servers(desk.services.settings), host, int(port)) if port.isdecimal() else None
    if row is None:
        raise NotFound("That is none of our servers; choose one of the list.")
    found = await diagnose(row, trust=client_context(None))
    return await _page(request, desk, user, finding=f"{row.protocol} {row.host}:{row.port}: {found.text}")


@router.get("/{account}/profile")
async def profile(desk: AtDesk, account: str) -> Response:
    """A profile for iPhone, iPad and Mac. There is no password in it."""
    user = await _user(desk, account)
    address = _address(user)
    try:
        offer = offer_for(servers(desk.services.settings), address.rpartition("@")[2])
    except NotOffered as error:
        raise NotFound(str(error)) from error
    octets = apple.profile(address, offer, name=desk.portal.name, full_name=user.name)
    headers = {"Content-Disposition": f'attachment; filename="{apple.FILE_NAME}"'}
    return Response(octets, media_type=apple.MEDIA_TYPE, headers=headers)


async def _page(request: Request, desk: Desk, user: UserRecord, *, finding: str) -> Response:
    table = servers(desk.services.settings)
    domain = _address(user).rpartition("@")[2]
    try:
        records, missing = dns.records(table, domain), ""
    except NotOffered as error:
        records, missing = (), str(error)
    return page(
        request,
        "set_up.html",
        user=user,
        address=_address(user),
        servers=servers_for(table, domain),
        records=records,
        missing=missing,
        finding=finding,
    )


async def _user(desk: Desk, account: str) -> UserRecord:
    try:
        return await desk.directory.user(desk.portal.name, account)
    except DirectoryError as error:
        raise NotFound(f"{account} is no user of {desk.portal.name}.") from error


def _address(user: UserRecord) -> str:
    return user.connected[0] if user.connected else user.account
