"""Outlook's autodiscover: what it asks is read without trust, what it is answered has the schema's form."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

import pytest
from client_servers import DOMAIN, HOST, listener, table
from hypothesis import given
from hypothesis import strategies as st

from onrecord.web.autoconfig import offer_for
from onrecord.web.autoconfig.outlook import MAX_REQUEST, BadRequest, read_request, response
from proxy.route import Tls

SCHEMA = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
NAMES = {"a": "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006", "o": SCHEMA}
REQUEST = """\
<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
  <Request>
    <EMailAddress>{address}</EMailAddress>
    <AcceptableResponseSchema>{schema}</AcceptableResponseSchema>
  </Request>
</Autodiscover>
"""
GROWING = '<!ENTITY a0 "ha">' + "".join(f'<!ENTITY a{n} "&a{n - 1};&a{n - 1};">' for n in range(1, 20))
WITH_DTD = {
    "that grows": f"<!DOCTYPE x [{GROWING}]><Autodiscover>&a19;</Autodiscover>",
    "that reads a file": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Autodiscover>&e;</Autodiscover>',
    "that is elsewhere": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><Autodiscover/>',
    "with parameters": '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/"> %p;]><Autodiscover/>',
    "of nothing": "<!DOCTYPE Autodiscover><Autodiscover/>",
}


def _request(address: str, schema: str = SCHEMA) -> bytes:
    return REQUEST.format(address=address, schema=schema).encode()


class TestARequest:
    def test_of_outlook_is_understood(self) -> None:
        assert read_request(_request("ann@acme.example")) == "ann@acme.example"

    def test_without_namespace_or_schema_is_understood(self) -> None:
        bare = b"<Autodiscover><Request><EMailAddress>ann@acme.example</EMailAddress></Request></Autodiscover>"
        assert read_request(bare) == "ann@acme.example"

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "iso-8859-1"])
    def test_in_another_encoding_is_understood(self, encoding: str) -> None:
        text = REQUEST.format(address="ann@acme.example", schema=SCHEMA)
        named = text.replace("utf-8", encoding.removesuffix("-sig"))
        assert read_request(named.encode(encoding)) == "ann@acme.example"

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    @pytest.mark.parametrize("document", WITH_DTD.values(), ids=WITH_DTD)
    def test_with_a_dtd_is_refused(self, document: str, encoding: str) -> None:
        with pytest.raises(BadRequest, match="holds a DTD"):
            read_request(document.encode(encoding))

    def test_with_an_entity_that_was_not_declared_is_refused(self) -> None:
        with pytest.raises(BadRequest, match="no XML"):
            read_request(_request("&unknown;@acme.example"))

    def test_that_is_too_large_is_not_even_read(self) -> None:
        with pytest.raises(BadRequest, match="more than"):
            read_request(_request("ann@acme.example") + b" " * MAX_REQUEST)

    def test_for_a_telephones_protocol_is_refused(self) -> None:
        mobile = "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
        with pytest.raises(BadRequest, match="schema"):
            read_request(_request("ann@acme.example", mobile))

    @pytest.mark.parametrize(
        "address", ["", "ann", "ann@", "ann@acme.example\nX: y", "&lt;b&gt;@acme.example", "<a>x</a>@b.example"]
    )
    def test_without_an_address_is_refused(self, address: str) -> None:
        with pytest.raises(BadRequest, match="no e-mail address"):
            read_request(_request(address))

    def test_of_an_address_elsewhere_in_it_is_refused(self) -> None:
        body = b"<Autodiscover><EMailAddress>ann@acme.example</EMailAddress></Autodiscover>"
        with pytest.raises(BadRequest, match="no e-mail address"):
            read_request(body)

    @given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: _request(text)))
    def test_of_any_octets_is_read_or_refused(self, body: bytes) -> None:
        try:
            address = read_request(body)
        except BadRequest:
            return
        assert "@" in address


class TestTheResponse:
    def test_has_the_best_server_of_each_side(self) -> None:
        root = fromstring(response("ann@acme.example", offer_for(table(), DOMAIN)))
        account = root.find("o:Response/o:Account", NAMES)
        assert account is not None
        assert account.findtext("o:AccountType", namespaces=NAMES) == "email"
        assert account.findtext("o:Action", namespaces=NAMES) == "settings"
        protocols = [
            {part.tag.rpartition("}")[2]: part.text for part in each} for each in account.iterfind("o:Protocol", NAMES)
        ]
        usual = {
            "Server": HOST,
            "LoginName": "ann@acme.example",
            "DomainRequired": "off",
            "SPA": "off",
            "SSL": "on",
            "Encryption": "SSL",
            "AuthRequired": "on",
        }
        assert protocols == [
            usual | {"Type": "IMAP", "Port": "993"},
            usual | {"Type": "SMTP", "Port": "465", "UsePOPAuth": "off", "SMTPLast": "off"},
        ]

    def test_is_in_the_namespaces_of_the_schema(self) -> None:
        root = fromstring(response("ann@acme.example", offer_for(table(), DOMAIN)))
        assert root.tag == f"{{{NAMES['a']}}}Autodiscover"
        assert [each.tag for each in root] == [f"{{{SCHEMA}}}Response"]

    def test_tells_starttls_from_implicit_tls(self) -> None:
        rows = table(listener(587, Tls.STARTTLS), listener(143, Tls.STARTTLS, kind="imap"))
        root = fromstring(response("ann@acme.example", offer_for(rows, DOMAIN)))
        found = [(each.tag.rpartition("}")[2], each.text) for each in root.iter()]
        assert [text for tag, text in found if tag == "Encryption"] == ["TLS", "TLS"]
        assert [text for tag, text in found if tag == "SSL"] == ["on", "on"]

    def test_holds_an_address_as_text(self) -> None:
        root = fromstring(response("a&b@acme.example", offer_for(table(), DOMAIN)))
        assert [each.text for each in root.iter(f"{{{SCHEMA}}}LoginName")] == ["a&b@acme.example"] * 2
