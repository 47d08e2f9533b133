"""`onrecord check`: does everything that `serve` needs work, told before it is needed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from certs import CertificateError, Certificates, client_context
from onrecord.settings import Settings, SettingsError, load
from proxy.dial import dial
from proxy.failures import DialError, Failure
from proxy.imap.capability import mechanisms as mailbox_mechanisms
from proxy.limits import Deadlines
from proxy.mailbox_dial import dial_mailbox
from proxy.route import Provider, ProviderKind, Tls
from proxy.smtp.extension import mechanisms
from store.database import Database, StoreUnavailable
from store.directory import Directory
from store.mailbox_state import MailboxState
from store.mailboxes import Mailboxes
from store.sealing import Sealer, SealingError

__all__ = ["MENDS", "PATIENCE", "Outcome", "Verdict", "check_all"]

EXPIRES_SOON = timedelta(days=21)  # public authorities' certificates live 90 days and less, renewed at two thirds
OTHERS = 0o077  # rights of anybody but the owner
PATIENCE = Deadlines(provider_connect=10.0, provider_greeting=20.0, provider_command=20.0)
# What usually is behind a provider that cannot be had.
MENDS = {
    Failure.UNREACHABLE: "see host and port, and that a firewall lets this machine out",
    Failure.TIMED_OUT: "see host and port; a port that begins with TLS (465 and 993 do) needs tls = 'implicit'",
    Failure.NOT_TRUSTED: "write host as its certificate names it, or name the authority that signed it with ca_file",
    Failure.NO_STARTTLS: "try port 465 or 993 with tls = 'implicit'; a login is never sent in clear",
    Failure.TLS_BROKEN: "a port that begins in clear (587 and 143 do) needs tls = 'starttls'",
    Failure.PROTOCOL: "is it a server of this kind? see kind and port",
}


class Outcome(StrEnum):
    """How a thing stands; `WARNING` works today."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was looked at, how it stands, and what to do about it."""

    outcome: Outcome
    subject: str
    text: str


async def check_all(config: Path | None) -> list[Verdict]:
    """All verdicts in order. Settings that cannot be read end it: nothing else can be looked at."""
    try:
        settings = load(config)
        settings.hash_key()
        settings.notice_password()
    except SettingsError as error:
        return [Verdict(Outcome.FAILED, "settings", line) for line in str(error).splitlines()]
    verdicts = [Verdict(Outcome.OK, "settings", str(config))]
    verdicts += _check_certificates(settings)
    verdicts += [each async for each in _check_store(settings)]
    verdicts += [each async for each in _check_mailboxes(settings)]
    verdicts.append(_check_spool(settings))
    verdicts += await asyncio.gather(*(_check_provider(each, settings) for each in settings.provider))
    return verdicts


def _check_certificates(settings: Settings) -> list[Verdict]:
    if not settings.tls.certificates:
        return []
    try:
        certificates = Certificates(settings.tls.certificates)
    except CertificateError as error:
        return [Verdict(Outcome.FAILED, "certificates", str(error))]
    return [_expiry(path, expires) for path, expires in certificates.expiries()]


def _expiry(path: Path, expires: datetime) -> Verdict:
    soon = expires - datetime.now(UTC) < EXPIRES_SOON
    text = f"{path} is valid until {expires:%Y-%m-%d}" + ("; renew it now" if soon else "")
    return Verdict(Outcome.WARNING if soon else Outcome.OK, "certificate", text)


async def _check_store(settings: Settings) -> AsyncIterator[Verdict]:
    url = settings.store.url
    try:
        database = await Database.open(settings.database_url)
        try:
            portals = await Directory(database, settings.bell).portals()
        finally:
            await database.close()
    except (StoreUnavailable, OSError) as error:
        yield Verdict(Outcome.FAILED, "database", f"{url}: {error}; see that its folder can be written")
        return
    if portals:
        yield Verdict(Outcome.OK, "database", f"{url}, portals: {', '.join(each.name for each in portals)}")
    else:
        yield Verdict(Outcome.WARNING, "database", f"{url} has no portal yet; make one with: onrecord portal add NAME")


async def _check_mailboxes(settings: Settings) -> AsyncIterator[Verdict]:
    """Whether the sealing key opens what is kept; nothing where no mailbox is connected."""
    ring = settings.key_ring()
    try:
        database = await Database.open(settings.database_url)
    except (StoreUnavailable, OSError):
        return  # told already
    try:
        mailboxes = Mailboxes(database, Sealer(ring.read))
        records = await mailboxes.all()
        for record in records:
            await mailboxes.held(record.id)
            if record.state is MailboxState.NEEDS_RECONNECT:
                mend = f"connect it again: onrecord mailbox connect {record.address} --user {record.user}"
                yield Verdict(Outcome.WARNING, f"mailbox {record.address}", f"{record.trouble}; {mend}")
    except SealingError as error:
        yield Verdict(Outcome.FAILED, "sealing key", str(error))
        return
    finally:
        await database.close()
    if not records:
        return
    if ring.is_ours and settings.sealing_key_file.stat().st_mode & OTHERS:
        text = f"{ring.source} can be read by others; chmod 600 {ring.source}"
        yield Verdict(Outcome.WARNING, "sealing key", text)
    else:
        yield Verdict(Outcome.OK, "sealing key", f"{ring.source} opens {len(records)} connected mailboxes")


def _check_spool(settings: Settings) -> Verdict:
    probe = settings.spools / ".probe"
    try:
        settings.spools.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe.write_bytes(b"onrecord")
        probe.unlink()
    except OSError as error:
        text = f"{settings.spools}: {error.strerror}; make it writable for the user that onrecord runs as"
        return Verdict(Outcome.FAILED, "spool", text)
    return Verdict(Outcome.OK, "spool", str(settings.spools))


async def _check_provider(provider: Provider, settings: Settings) -> Verdict:
    subject = f"provider {provider.name}"
    place = f"{provider.host}:{provider.port}"
    try:
        context = None if provider.tls is Tls.NONE else client_context(provider.ca_file)
        offered = await _logins(provider, context, settings)
    except CertificateError as error:
        return Verdict(Outcome.FAILED, subject, str(error))
    except DialError as error:
        return Verdict(
            Outcome.FAILED, subject, "; ".join(filter(None, (f"{place}: {error}", MENDS.get(error.failure))))
        )
    if not offered:
        return Verdict(
            Outcome.WARNING, subject, f"{place} answers but offers no login; is this its port for {provider.kind}?"
        )
    security = "in clear" if provider.tls is Tls.NONE else "TLS verified"
    return Verdict(
        Outcome.OK, subject, f"{place}, {security}, logins by {b' '.join(offered).decode('ascii', 'replace')}"
    )


async def _logins(provider: Provider, context: ssl.SSLContext | None, settings: Settings) -> list[bytes]:
    """The mechanisms that a provider takes logins by. Raises `DialError`."""
    if provider.kind is ProviderKind.IMAP:
        mailbox, opened = await dial_mailbox(provider, context, deadlines=PATIENCE)
        mailbox.drop()
        return mailbox_mechanisms(opened.listed.upper().split())
    leg = await dial(provider, context, settings.hostname.encode(), limits=settings.limits, deadlines=PATIENCE)
    leg.drop()
    return mechanisms(leg.extensions)
