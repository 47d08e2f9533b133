"""Asking before what cannot be undone: at a terminal by a question, elsewhere only by --yes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["Yes", "is_confirmed"]

Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


def is_confirmed(question: str, *, yes: bool) -> bool:
    """Whether somebody wants it. Without a terminal nobody can be asked, so the answer is no."""
    return yes or (sys.stdin.isatty() and typer.confirm(question, err=True))
