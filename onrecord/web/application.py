"""The application: which page answers which path, and what is said when none can."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from onrecord.web.access import FormRefused, SignInNeeded
from onrecord.web.gate import Gate
from onrecord.web.pages import audit, contacts, email_log, emails, health, home, never_log, set_up, sign_in, users, why
from onrecord.web.rendering import page
from onrecord.web.services import NotFound, Services
from store.database import StoreUnavailable
from store.directory import DirectoryError

__all__ = ["application"]

log = structlog.get_logger("web")

TITLES = {404: "There is no such page", 405: "That cannot be done here", 422: "Something of that is not understood"}


def application(services: Services, origins: tuple[str, ...]) -> ASGIApp:
    """What a web server runs. `origins` are those under which browsers may reach it."""
    app = FastAPI(title="onrecord", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.services = services
    for each in (health, sign_in, home, email_log, never_log, emails, contacts, users, why, set_up, audit):
        app.include_router(each.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_exception_handler(SignInNeeded, _ask_to_sign_in)
    app.add_exception_handler(FormRefused, _refuse_form)
    app.add_exception_handler(NotFound, _not_found)
    app.add_exception_handler(DirectoryError, _refused)
    app.add_exception_handler(StoreUnavailable, _store_away)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Exception, _failed)
    return Gate(app, origins)


async def _ask_to_sign_in(request: Request, error: Exception) -> Response:
    where = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"/sign-in?to={quote(where, safe='')}", 303)


async def _refuse_form(request: Request, error: Exception) -> Response:
    return page(
        request,
        "trouble.html",
        status=403,
        title="This form is from another session",
        text="Nothing was changed. Go back, load the page again, and send the form once more.",
    )


async def _not_found(request: Request, error: Exception) -> Response:
    return page(request, "trouble.html", status=404, title=TITLES[404], text=str(error))


async def _refused(request: Request, error: Exception) -> Response:
    return page(request, "trouble.html", status=400, title="Nothing was changed", text=str(error))


async def _store_away(request: Request, error: Exception) -> Response:
    text = "The database does not answer now. Mail goes on, and what passes is kept. Try again in a moment."
    return page(request, "trouble.html", status=503, title="Nothing can be shown just now", text=text)


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = TITLES.get(error.status_code, "That did not work")
    return page(request, "trouble.html", status=error.status_code, title=title, text="")


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    names = ", ".join(sorted({str(each["loc"][-1]) for each in error.errors()}))
    text = f"Nothing was changed. Look at: {names}."
    return page(request, "trouble.html", status=422, title=TITLES[422], text=text)


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of ours: its kind goes to the log, nothing of the request does."""
    log.error("a page failed", path=request.scope.get("route_path", ""), cause=type(error).__name__)
    text = "That is a fault of onrecord, and its log says which. Nothing was changed by halves."
    return page(request, "trouble.html", status=500, title="This page failed", text=text)
