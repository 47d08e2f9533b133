"""Why a mail program cannot connect: a try of its way to us, as far as the offer of a login.

It is tried as the program does it, with the same server, protocol and kind of TLS. When that fails, what is there is
looked at once more, because what looks like "timed out" mostly is a port that waits for TLS while the program waits for
a greeting. Only a row of our own table can be tried, so nobody scans ports with this. No login is tried and no name of
a user is sent.
"""

from __future__ import annotations

import ssl

from onrecord.web.autoconfig.finding import Diagnosis, Finding, hint, tell
from onrecord.web.autoconfig.first_words import Patience, Seen, Silence, look
from onrecord.web.autoconfig.servers import PROTOCOLS, Reach, Server
from proxy.dial import dial
from proxy.failures import DialError, Failure
from proxy.imap.capability import mechanisms as mailbox_mechanisms
from proxy.limits import Deadlines, Limits
from proxy.mailbox_dial import dial_mailbox
from proxy.route import Provider, ProviderKind, Tls
from proxy.smtp.extension import mechanisms

__all__ = ["Diagnosis", "Finding", "Patience", "diagnose"]

# How an attempt ends that gets no further than the handshake, which some servers end without an alert.
BREAKS_TLS = (Failure.TLS_BROKEN, Failure.UNREACHABLE)
CLIENT_NAME = b"[127.0.0.1]"  # for EHLO: a mail program has no name of its own (RFC 5321 §4.1.4)
LOCAL_ONLY = " It can be reached from this machine only; other devices need a server that listens on the network."
USUAL_PATIENCE = Patience()
SILENCES = {
    Silence.NAME_UNKNOWN: Finding.NAME_UNKNOWN,
    Silence.NOTHING_LISTENS: Finding.NOTHING_LISTENS,
    Silence.UNREACHABLE: Finding.UNREACHABLE,
    Silence.HANGS_UP: Finding.HANGS_UP,
    Silence.SAYS_NOTHING: Finding.SAYS_NOTHING,
}
# What was tried, whether there is TLS from the beginning, and what is wrong; nothing is where the two fit.
WRONG_TLS = {
    (Tls.STARTTLS, True): Finding.STARTTLS_ON_IMPLICIT,
    (Tls.NONE, True): Finding.CLEAR_ON_IMPLICIT,
    (Tls.IMPLICIT, False): Finding.IMPLICIT_ON_STARTTLS,
}
# Numbers of OpenSSL's, X509_V_ERR_ there.
CERTIFICATE_CODES = {
    9: Finding.NOT_YET_VALID,
    10: Finding.EXPIRED,
    18: Finding.UNKNOWN_AUTHORITY,  # signed by itself
    19: Finding.UNKNOWN_AUTHORITY,  # by an authority that came with it
    20: Finding.UNKNOWN_AUTHORITY,  # by one that did not
    21: Finding.UNKNOWN_AUTHORITY,  # there is nothing but the certificate
    62: Finding.OTHER_NAME,
    64: Finding.OTHER_NAME,  # it is an address
}


async def diagnose(
    server: Server,
    *,
    trust: ssl.SSLContext,
    kind: ProviderKind | None = None,
    tls: Tls | None = None,
    patience: Patience = USUAL_PATIENCE,
) -> Diagnosis:
    """Tries a row of the table. `kind` and `tls` are what somebody chose in a mail program, if not what the row says.

    `trust` holds the authorities to trust, as `certs.client_context` makes it.
    """
    attempt = Provider(
        name="attempt", kind=kind or server.kind, host=server.host, port=server.port, tls=tls or server.tls
    )
    try:
        offers_login = await _offers_login(attempt, trust, patience)
    except DialError as error:
        return await _explain(attempt, error, patience)
    if not offers_login:
        is_clear_wrong = attempt.tls is Tls.NONE and server.tls is not Tls.NONE
        return tell(Finding.CLEAR_ON_STARTTLS if is_clear_wrong else Finding.NO_LOGIN, attempt)
    diagnosis = tell(Finding.WELL, attempt)
    return Diagnosis(Finding.WELL, diagnosis.text + LOCAL_ONLY) if server.reach is Reach.THIS_MACHINE else diagnosis


async def _offers_login(attempt: Provider, trust: ssl.SSLContext, patience: Patience) -> bool:
    """Goes as far as a mail program does before it sends a name. Raises `DialError`."""
    context = None if attempt.tls is Tls.NONE else trust
    deadlines = Deadlines(
        provider_connect=patience.connect, provider_greeting=patience.greeting, provider_command=patience.answer
    )
    if attempt.kind is ProviderKind.IMAP:
        mailbox, opened = await dial_mailbox(attempt, context, deadlines=deadlines)
        mailbox.drop()
        capabilities = opened.listed.upper().split()
        return b"LOGINDISABLED" not in capabilities or bool(mailbox_mechanisms(capabilities))
    leg = await dial(attempt, context, CLIENT_NAME, limits=Limits(), deadlines=deadlines)
    leg.drop()
    return bool(mechanisms(leg.extensions))


async def _explain(attempt: Provider, error: DialError, patience: Patience) -> Diagnosis:
    if error.failure is Failure.NOT_TRUSTED:
        return tell(_distrust(error), attempt, detail=str(error))
    if error.failure is Failure.NO_STARTTLS:
        return tell(Finding.NO_STARTTLS, attempt)
    tls_first = _is_tls_likely(attempt.tls, error.failure)
    seen = await look(attempt.host, attempt.port, tls_first=tls_first, patience=patience)
    if seen is Silence.SAYS_NOTHING and attempt.tls is Tls.IMPLICIT and error.failure in BREAKS_TLS:
        return tell(Finding.TLS_FAILED, attempt)
    if isinstance(seen, Silence):
        return tell(SILENCES[seen], attempt)
    return _compare(attempt, seen, error)


def _is_tls_likely(tried: Tls, failure: Failure) -> bool:
    """What timed out is looked at the other way round first, what went wrong after its first words the same way."""
    if failure is Failure.TIMED_OUT:
        return tried is not Tls.IMPLICIT
    return tried is Tls.IMPLICIT and failure is not Failure.TLS_BROKEN


def _compare(attempt: Provider, seen: Seen, error: DialError) -> Diagnosis:
    """What was tried against what is there."""
    if seen.protocol != PROTOCOLS[attempt.kind]:
        return tell(Finding.OTHER_PROTOCOL, attempt, found=seen.protocol, hint=hint(seen.protocol))
    if finding := WRONG_TLS.get((attempt.tls, seen.within_tls)):
        return tell(finding, attempt)
    if error.failure is Failure.TLS_BROKEN:
        return tell(Finding.TLS_FAILED, attempt)
    return tell(Finding.REFUSES, attempt, detail=str(error))


def _distrust(error: DialError) -> Finding:
    """Why a certificate was refused."""
    cause = error.__cause__
    code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else 0
    return CERTIFICATE_CODES.get(code, Finding.CERTIFICATE_REFUSED)
