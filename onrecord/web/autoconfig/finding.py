"""What can come out when a mail program's way to us is tried, and what a user is told then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from onrecord.web.autoconfig.servers import PROTOCOLS
from proxy.route import Provider, Tls

__all__ = ["Diagnosis", "Finding", "hint", "tell"]

TLS_NAMES = {Tls.IMPLICIT: "SSL/TLS", Tls.STARTTLS: "STARTTLS", Tls.NONE: "no encryption"}
HINTS = {
    "SMTP": "It is for sending mail: enter it as the outgoing server.",
    "IMAP": "It is for reading mail: enter it as the incoming server.",
    "HTTP": "That is a web server: another program has the port, or the name leads elsewhere.",
}
OTHERWISE = "Another program has the port, or the name leads elsewhere."


class Finding(Enum):
    """What came out. The value is the text; in braces what was tried, and what is there."""

    WELL = (
        "All is well: {place} answers {protocol} with {tls} and takes logins. If one device still cannot connect, see "
        "its network, and that it has the same name, port and kind of TLS; if only the login fails, see name and "
        "password."
    )
    NAME_UNKNOWN = "The name {host} leads to no address. See how it is spelt, and that it has an A or AAAA record."
    NOTHING_LISTENS = "Nothing listens on {place}. Is onrecord running, and is this the port that its settings name?"
    UNREACHABLE = (
        "{place} cannot be reached: nothing answers. Mostly a firewall is in between, or the name leads to the address "
        "of another machine."
    )
    HANGS_UP = (
        "{place} takes the connection and closes it without a word. It may have too many connections, or something "
        "in between ends them."
    )
    SAYS_NOTHING = "{place} takes the connection and says nothing, in clear or within TLS. It may be overloaded."
    STARTTLS_ON_IMPLICIT = (
        "STARTTLS was tried on the implicit TLS port. {place} begins with TLS at once: choose “SSL/TLS” in the mail "
        "program instead of “STARTTLS”."
    )
    IMPLICIT_ON_STARTTLS = (
        "Implicit TLS was tried on the STARTTLS port. {place} begins in clear and then asks for TLS: choose “STARTTLS” "
        "in the mail program instead of “SSL/TLS”."
    )
    CLEAR_ON_IMPLICIT = (
        "No encryption was tried on the implicit TLS port. {place} begins with TLS at once: choose “SSL/TLS” in the "
        "mail program."
    )
    CLEAR_ON_STARTTLS = (
        "No encryption was chosen, and {place} takes no login in clear: choose “STARTTLS” in the mail program."
    )
    NO_STARTTLS = (
        "{place} answers, but does not offer STARTTLS. Something in between may have taken it away; never choose “no "
        "encryption” because of that."
    )
    TLS_FAILED = (
        "TLS with {place} fails before a certificate is seen. Both sides need TLS 1.2 or newer, which one of them may "
        "be too old for."
    )
    OTHER_NAME = (
        "The certificate on {place} is not for the name {host}. Enter the name that stands in it, or let the "
        "administrator add this one."
    )
    EXPIRED = "The certificate on {place} has expired. The administrator must renew it."
    NOT_YET_VALID = "The certificate on {place} is not valid yet. See date and time of this machine and of the server."
    UNKNOWN_AUTHORITY = (
        "The certificate on {place} is from an authority that is not known here. Devices that do not know it either "
        "refuse it: let them trust that authority, or take a certificate of a public one."
    )
    CERTIFICATE_REFUSED = "The certificate on {place} cannot be used: {detail}."
    OTHER_PROTOCOL = "{place} speaks {found}, not {protocol}. {hint}"
    REFUSES = (
        "{place} answers, but serves nobody now: {detail}. Mostly the mail provider behind it cannot be reached, or "
        "there are too many connections."
    )
    NO_LOGIN = (
        "{place} answers {protocol} with {tls}, but offers no login. Is the mail provider behind it the right one?"
    )


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What came out, and what a user is told."""

    finding: Finding
    text: str

    @property
    def is_well(self) -> bool:
        """Whether a mail program can log in there, from here."""
        return self.finding is Finding.WELL


def tell(finding: Finding, attempt: Provider, **more: str) -> Diagnosis:
    """The finding about what was tried, in words; `more` fills what some texts have besides."""
    text = finding.value.format(
        host=attempt.host,
        place=f"port {attempt.port} of {attempt.host}",
        protocol=PROTOCOLS[attempt.kind],
        tls=TLS_NAMES[attempt.tls],
        **more,
    )
    return Diagnosis(finding, text[:1].upper() + text[1:])


def hint(protocol: str) -> str:
    """What to do about a server that speaks this one, and not what was tried."""
    return HINTS.get(protocol, OTHERWISE)
