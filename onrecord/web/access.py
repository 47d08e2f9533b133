"""Who is signed in, and whether a form is his own.

The browser has a token in a `__Host-` cookie, which no other host name can set and no script can read. Forms carry a
word that is made from the token, so that a page of ours must have been seen before anything is changed.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from onrecord.web.services import Desk, Services
from store.web_accounts import WebAccount

__all__ = ["AtDesk", "FormRefused", "InService", "SignInNeeded", "SignedIn", "give_cookie", "take_cookie"]

COOKIE = "__Host-onrecord"


class SignInNeeded(Exception):
    """Nobody is signed in, or not any more."""


class FormRefused(Exception):
    """A form that was not made by a page of this session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Who is signed in, by which token."""

    account: WebAccount
    token: str

    @property
    def form_word(self) -> str:
        """What forms of this session carry."""
        return _form_word(self.token)


def services(request: Request) -> Services:
    """Of the application."""
    found: Services = request.app.state.services
    return found


InService = Annotated[Services, Depends(services)]


async def signed_in(request: Request, services: InService) -> Signed:
    """Raises `SignInNeeded`, and `FormRefused` where something is to be changed without the word of this session."""
    token = request.cookies.get(COOKIE)
    account = await services.accounts("").session(token) if token else None
    if token is None or account is None:
        raise SignInNeeded
    signed = Signed(account=account, token=token)
    if request.method == "POST":
        word = (await request.form()).get("form_word")
        if not isinstance(word, str) or not hmac.compare_digest(word.encode(), signed.form_word.encode()):
            raise FormRefused
    request.state.signed = signed
    return signed


SignedIn = Annotated[Signed, Depends(signed_in)]


async def at_desk(portal: str, request: Request, signed: SignedIn, services: InService) -> Desk:
    """The administrator's work on the portal that the path names. Raises `NotFound`."""
    desk = await services.desk(signed.account, portal)
    request.state.desk = desk
    return desk


AtDesk = Annotated[Desk, Depends(at_desk)]


def give_cookie(response: Response, token: str) -> None:
    """Signs the browser in."""
    response.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="lax")


def take_cookie(response: Response) -> None:
    """Signs it out."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")


def _form_word(token: str) -> str:
    return hmac.digest(token.encode(), b"onrecord form", "sha256").hex()
