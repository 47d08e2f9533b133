"""config-v1.1.xml, by which Thunderbird, K-9, Evolution, KMail and others set themselves up.

Clients ask for it at `/mail/config-v1.1.xml` of the host autoconfig.DOMAIN, and at
`/.well-known/autoconfig/mail/config-v1.1.xml` of DOMAIN itself, not all of them with an address. So the document is one
for a whole domain: logins are written as the placeholder %EMAILADDRESS%, which clients fill in.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from onrecord.web.autoconfig.servers import Offer, Server
from proxy.route import ProviderKind, Tls

__all__ = ["MEDIA_TYPE", "config"]

MEDIA_TYPE = "text/xml"
LOGIN = "%EMAILADDRESS%"
SOCKET_TYPES = {Tls.IMPLICIT: "SSL", Tls.STARTTLS: "STARTTLS", Tls.NONE: "plain"}
SIDES = {ProviderKind.IMAP: ("incomingServer", "imap"), ProviderKind.SUBMISSION: ("outgoingServer", "smtp")}
# The password itself, within TLS. The format's OAuth2 is for issuers that a client knows by the server's name, and no
# client knows ours.
AUTHENTICATION = "password-cleartext"


def config(offer: Offer, *, name: str) -> bytes:
    """The document. `name` is what the account's servers are called in front of users."""
    root = Element("clientConfig", version="1.1")
    provider = SubElement(root, "emailProvider", id=offer.domain)
    for tag, text in (("domain", offer.domain), ("displayName", name), ("displayShortName", name)):
        SubElement(provider, tag).text = text
    for each in (*offer.incoming, *offer.outgoing):
        _add(provider, each)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _add(provider: Element, server: Server) -> None:
    tag, kind = SIDES[server.kind]
    element = SubElement(provider, tag, type=kind)
    for name, text in (
        ("hostname", server.host),
        ("port", str(server.port)),
        ("socketType", SOCKET_TYPES[server.tls]),
        ("username", LOGIN),
        ("authentication", AUTHENTICATION),
    ):
        SubElement(element, name).text = text
