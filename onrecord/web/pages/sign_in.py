"""Signing in and out."""

from __future__ import annotations

import math
from typing import Annotated

import structlog
from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from onrecord.web.access import InService, SignedIn, give_cookie, take_cookie
from onrecord.web.rendering import page

__all__ = ["router"]

log = structlog.get_logger("web")

router = APIRouter()

WRONG = "No account has this login and password."


@router.get("/sign-in")
async def show_sign_in(request: Request, to: str = "/") -> Response:
    """The form."""
    return page(request, "sign_in.html", login="", to=_own_path(to), trouble="")


@router.post("/sign-in")
async def sign_in(
    request: Request,
    services: InService,
    login: Annotated[str, Form(max_length=320)] = "",
    password: Annotated[str, Form(max_length=4096)] = "",
    to: Annotated[str, Form()] = "/",
) -> Response:
    """Signs in. One who fails again and again has to wait, whichever login is tried, from wherever."""
    peer = f"address {request.client.host if request.client else ''}"
    tried = f"login {login.strip().casefold()}"
    if (pause := services.attempts.pause(peer, tried)) > 0:
        text = f"Too many sign-ins have failed. Try again in {math.ceil(pause)} seconds."
        return page(request, "sign_in.html", status=429, login=login, to=_own_path(to), trouble=text)
    accounts = services.accounts(login)
    known = await accounts.credentials(login)
    if not await services.passwords.is_right(known[1] if known else None, password) or known is None:
        services.attempts.failed(peer, tried)
        log.warning("a sign-in has failed", peer=peer)
        return page(request, "sign_in.html", status=403, login=login, to=_own_path(to), trouble=WRONG)
    account, hashed = known
    services.attempts.succeeded(peer, tried)
    if (better := await services.passwords.rehashed(hashed, password)) is not None:
        await accounts.replace_hash(account.id, better)
    response = RedirectResponse(_own_path(to), 303)
    give_cookie(response, await accounts.begin_session(account))
    return response


@router.post("/sign-out")
async def sign_out(services: InService, signed: SignedIn) -> Response:
    """Ends the session, not only the cookie."""
    await services.accounts(signed.account.login).end_session(signed.token)
    response = RedirectResponse("/sign-in", 303)
    take_cookie(response)
    return response


def _own_path(to: str) -> str:
    """A path of ours to go to; never another site's."""
    is_ours = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable() and "\\" not in to
    return to if is_ours else "/"
