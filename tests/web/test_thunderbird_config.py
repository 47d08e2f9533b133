"""config-v1.1.xml has the structure that Mozilla documents, and says what the table says."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest
from client_servers import DOMAIN, HOST, listener, table

from onrecord.web.autoconfig import offer_for
from onrecord.web.autoconfig.thunderbird import config
from proxy.route import Tls

# Of Thunderbird:Autoconfiguration:ConfigFileFormat: the elements of a server in their order, and their values.
SERVER = ("hostname", "port", "socketType", "username", "authentication")
SOCKET_TYPES = ("plain", "SSL", "STARTTLS")
AUTHENTICATIONS = ("password-cleartext", "password-encrypted", "NTLM", "GSSAPI", "client-IP-address", "TLS-client-cert")
PLACEHOLDERS = ("%EMAILADDRESS%", "%EMAILLOCALPART%")


def _config(**more: str) -> Element:
    return fromstring(config(offer_for(table(), DOMAIN), **{"name": "Acme"} | more))


def _servers(root: Element, tag: str) -> list[list[str | None]]:
    return [[part.text for part in each] for each in root.iterfind(f"emailProvider/{tag}")]


def test_document_has_the_documented_structure() -> None:
    root = _config()
    assert (root.tag, root.attrib) == ("clientConfig", {"version": "1.1"})
    (provider,) = root
    assert (provider.tag, provider.attrib) == ("emailProvider", {"id": DOMAIN})
    tags = [each.tag for each in provider]
    assert tags == [
        *("domain", "displayName", "displayShortName"),
        *("incomingServer", "incomingServer", "outgoingServer", "outgoingServer"),
    ]
    for each in provider.findall("incomingServer") + provider.findall("outgoingServer"):
        assert each.attrib == {"type": "imap" if each.tag == "incomingServer" else "smtp"}
        assert tuple(part.tag for part in each) == SERVER
        assert 0 < int(each.findtext("port") or "") < 65536
        assert each.findtext("socketType") in SOCKET_TYPES
        assert each.findtext("username") in PLACEHOLDERS
        assert each.findtext("authentication") in AUTHENTICATIONS


def test_servers_are_those_of_the_table_best_first() -> None:
    root = _config()
    rest = ["%EMAILADDRESS%", "password-cleartext"]
    assert _servers(root, "incomingServer") == [[HOST, "993", "SSL", *rest], [HOST, "143", "STARTTLS", *rest]]
    assert _servers(root, "outgoingServer") == [[HOST, "465", "SSL", *rest], [HOST, "587", "STARTTLS", *rest]]


def test_login_without_encryption_is_told_as_such_on_the_only_machine_that_has_it() -> None:
    rows = table(
        listener(2587, Tls.NONE, address="127.0.0.1"), listener(2543, Tls.NONE, kind="imap", address="127.0.0.1")
    )
    root = fromstring(config(offer_for(rows, DOMAIN), name="Acme"))
    assert [each.text for each in root.iter("socketType")] == ["plain", "plain"]


@pytest.mark.parametrize("name", ["A & B <b>", 'Quo"te', "Grüße ☎", "]]>"])
def test_name_is_text_whatever_it_holds(name: str) -> None:
    provider = _config(name=name)[0]
    assert provider.findtext("displayName") == provider.findtext("displayShortName") == name
    assert len(provider) == 7
