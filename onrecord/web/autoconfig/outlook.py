"""Autodiscover, by which Outlook sets itself up: a request in XML, answered by the outlook schema 2006a.

Outlook posts it to `/autodiscover/autodiscover.xml` of DOMAIN or autodiscover.DOMAIN, in capitals or not, with no login
of any kind. The later JSON form only tells where this one is, which is a fixed place for mail servers, so there is none
here. The request comes from anybody: it is small, holds no DTD, and its address is one.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring
from xml.parsers import expat

from onrecord.web.autoconfig.servers import Offer, Server
from proxy.route import ProviderKind, Tls
from store.directory_record import DirectoryError, checked_address

__all__ = ["MAX_REQUEST", "MEDIA_TYPE", "BadRequest", "read_request", "response"]

MEDIA_TYPE = "text/xml"
MAX_REQUEST = 8192  # octets; Outlook's have 400, and an address 320 at most
ENVELOPE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"
SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
ADDRESS = "Autodiscover/Request/EMailAddress"
ACCEPTED = "Autodiscover/Request/AcceptableResponseSchema"
SEPARATOR = " "  # between namespace and name; it is in neither
TYPES = {ProviderKind.IMAP: "IMAP", ProviderKind.SUBMISSION: "SMTP"}
ENCRYPTIONS = {Tls.IMPLICIT: "SSL", Tls.STARTTLS: "TLS", Tls.NONE: "None"}


class BadRequest(Exception):
    """The request cannot be answered; the text says why."""


def read_request(body: bytes) -> str:
    """The address that the settings are asked for. Raises `BadRequest`."""
    if len(body) > MAX_REQUEST:
        raise BadRequest(f"the request has more than {MAX_REQUEST} octets")
    reader = _Reader()
    try:
        reader.parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadRequest(f"the request is no XML: {error}") from error
    if reader.texts.get(ACCEPTED, SCHEMA).strip() != SCHEMA:
        raise BadRequest(f"only the schema {SCHEMA} can be answered")
    try:
        return checked_address(reader.texts.get(ADDRESS, ""))
    except DirectoryError as error:
        raise BadRequest("the request names no e-mail address") from error


def response(address: str, offer: Offer) -> bytes:
    """The settings for one address: the best server of each side, which is all that Outlook takes."""
    root = Element("Autodiscover", xmlns=ENVELOPE)
    account = SubElement(SubElement(root, "Response", xmlns=SCHEMA), "Account")
    SubElement(account, "AccountType").text = "email"
    SubElement(account, "Action").text = "settings"
    for each in (offer.incoming[0], offer.outgoing[0]):
        _add(account, each, address)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _add(account: Element, server: Server, address: str) -> None:
    element = SubElement(account, "Protocol")
    values = {
        "Type": TYPES[server.kind],
        "Server": server.host,
        "Port": str(server.port),
        "LoginName": address,
        "DomainRequired": "off",
        "SPA": "off",  # left out it would be on, and means NTLM
        "SSL": "off" if server.tls is Tls.NONE else "on",
        "Encryption": ENCRYPTIONS[server.tls],  # where it is known it outranks SSL, which cannot tell the two apart
        "AuthRequired": "on",
    }
    if server.kind is ProviderKind.SUBMISSION:
        values |= {"UsePOPAuth": "off", "SMTPLast": "off"}
    for name, text in values.items():
        SubElement(element, name).text = text


class _Reader:
    """The texts of a document by their place in it; of one place the first. Namespaces are not compared: Outlook's
    versions and their documentation differ in them.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.parser = expat.ParserCreate(namespace_separator=SEPARATOR)
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._enter
        self.parser.EndElementHandler = self._leave
        self.parser.CharacterDataHandler = self._read
        self._path: list[str] = []
        self._text: list[str] = []

    def _refuse(self, *_: object) -> None:
        """Entities are declared in a DTD, those that fetch files and those that grow without end (CWE-611, CWE-776)."""
        raise BadRequest("the request holds a DTD")

    def _enter(self, name: str, _: dict[str, str]) -> None:
        self._path.append(name.rpartition(SEPARATOR)[2])
        self._text.clear()

    def _read(self, text: str) -> None:
        self._text.append(text)

    def _leave(self, _: str) -> None:
        self.texts.setdefault("/".join(self._path), "".join(self._text))
        self._path.pop()
        self._text.clear()
