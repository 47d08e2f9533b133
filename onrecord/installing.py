"""Making an installation: settings, keys, a local authority with a server certificate, and the database."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from certs import Authority, CertificatePair
from onrecord.settings import Settings, SettingsError, load
from store.database import migrate
from store.sealing import SealingKey

__all__ = ["install", "make_keys", "template"]

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def template() -> str:
    """The commented settings file."""
    return files("onrecord").joinpath("onrecord.toml").read_text("utf-8")


def install(folder: Path, *, hostname: str) -> Iterator[tuple[Path, str]]:
    """Writes everything below `folder` and tells each file and what it is; replaces nothing.

    Raises `SettingsError` or `SealingError`, and then the settings are not there either, so that it can be run again.
    Raises `StoreUnavailable` when only the database could not be made.
    """
    path = folder / "onrecord.toml"
    text = re.sub(r'^hostname = ".*"$', f'hostname = "{hostname}"', template(), count=1, flags=re.MULTILINE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise SettingsError(f"{path}: is there already and stays; give another folder, or remove it first") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror}); give a folder that can be") from error
    try:
        settings = load(path)
        keys = list(make_keys(settings))
    except SettingsError:
        path.unlink()
        raise
    yield path, "the settings, every one explained"
    yield from keys
    migrate(settings.database_url)
    yield Path(settings.database_url.removeprefix("sqlite:///")), "the database"


def make_keys(settings: Settings) -> Iterator[tuple[Path, str]]:
    """The keys of hashes and of sealing, the local authority and the server certificate; what is there stays as it is.

    Raises `SettingsError` when one cannot be written, or an authority is there without a server certificate, and
    `SealingError`.
    """
    try:
        yield from _make_keys(settings)
    except FileExistsError as error:
        raise SettingsError(
            f"{error.filename}: is there already without the server certificate; restore that, or move this file away"
        ) from error
    except OSError as error:
        raise SettingsError(f"{error.filename}: cannot be written ({error.strerror})") from error


def _make_keys(settings: Settings) -> Iterator[tuple[Path, str]]:
    key = settings.hash_key_file
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(key, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
        yield key, "the key of hashes; keep a copy, without it mail that was not logged cannot be explained"
    ring = settings.key_ring()
    if not ring.exists:
        ring.write([SealingKey.make()])
        yield settings.sealing_key_file, "the key that seals passwords of connected mailboxes; keep a copy"
    pair = settings.tls.certificates[0]
    if pair.certificate.exists() or pair.key.exists():
        return
    authority = Authority.create(f"onrecord local authority of {settings.hostname}")
    own = CertificatePair(certificate=settings.data / "certs/ca.pem", key=settings.data / "keys/ca.key")
    authority.save(own)
    authority.issue(list(dict.fromkeys((settings.hostname, *LOOPBACK))), pair)
    yield own.certificate, "the local authority, for mail clients to trust"
    yield pair.certificate, "the server certificate"
