"""Pages from templates. Whatever is put into one is escaped, and what could turn or hide text is made visible."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from onrecord.written import moment, visible

__all__ = ["page", "path_of"]


def _shown(value: object) -> object:
    """What strangers wrote, without what steers the direction of text or a terminal."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _when(seconds: float | None) -> str:
    """A time for people; all times are UTC, and the page says so."""
    return (moment(seconds) or "").replace("T", " ").removesuffix("Z")


_environment = Environment(
    loader=PackageLoader("onrecord.web"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["when"] = _when


def path_of(*parts: object) -> str:
    """A path of which each part is one segment, whatever characters it has."""
    return "/" + "/".join(quote(str(each), safe="") for each in parts)


_environment.globals["path_of"] = path_of


def _here_is(path: str, here: str) -> bool:
    """Whether the page belongs to an item of the navigation."""
    is_portal = path.count("/") == 2  # all pages lie below it
    return here == path or (not is_portal and here.startswith(f"{path}/"))


_environment.globals["here_is"] = _here_is


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The page, with who is signed in and where, as far as that is known."""
    signed = getattr(request.state, "signed", None)
    desk = getattr(request.state, "desk", None)
    form_word = signed.form_word if signed else ""
    known = {
        "account": signed.account if signed else None,
        "word": lambda: Markup('<input type="hidden" name="form_word" value="{}">').format(form_word),
        "portal": desk.portal if desk else None,
        "here": request.url.path,
    }
    return HTMLResponse(_environment.get_template(template).render(known | values), status)
