"""Passwords that people type, or programs write to standard input; never an argument, which others can see."""

from __future__ import annotations

import sys

import typer

from engine.secret import Secret
from store.directory import DirectoryError

__all__ = ["PasswordStdin", "read_password"]

MAX_PASSWORD = 4096  # octets; no server takes longer ones

PasswordStdin = typer.Option("--password-stdin", help="Read the password from standard input; else it is asked for.")


def read_password(*, from_stdin: bool, otherwise: str = "", twice: bool = False) -> Secret:
    """The password; `otherwise` names what can be used instead of one. Raises `DirectoryError` when there is none."""
    if not from_stdin:
        if not sys.stdin.isatty():
            raise DirectoryError(f"there is nobody to ask for a password; use --password-stdin{otherwise}")
        return Secret(typer.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True).encode())
    octets = sys.stdin.buffer.read(MAX_PASSWORD + 1)
    password = octets.removesuffix(b"\n").removesuffix(b"\r")
    if not password or len(octets) > MAX_PASSWORD or b"\n" in password:
        raise DirectoryError("standard input holds no password; write it there, on one line")
    return Secret(password)
