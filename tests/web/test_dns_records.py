"""The DNS records, read by a program that reads zone files."""

from __future__ import annotations

import dns.rdatatype
import dns.zone
import pytest
from client_servers import DOMAIN, listener, table

from onrecord.web.autoconfig import NotOffered, Server
from onrecord.web.autoconfig.dns import records
from proxy.route import Provider, ProviderKind, Tls

SOA = "@ 3600 IN SOA ns.acme.example. admin.acme.example. 1 3600 600 86400 3600\n@ 3600 IN NS ns.acme.example.\n"


def _zone(lines: tuple[str, ...], origin: str = DOMAIN) -> dict[str, str]:
    """Name, as it stands in the zone, to the data of its SRV or CNAME record."""
    zone = dns.zone.from_text(SOA + "\n".join(lines), origin=origin, relativize=False)
    kinds = (dns.rdatatype.SRV, dns.rdatatype.CNAME)
    found = [(name, data) for name, _, data in zone.iterate_rdatas() if data.rdtype in kinds]
    assert len(found) == len([each for each in lines if not each.startswith(";")])
    return {str(name).removesuffix(f".{origin}."): str(data) for name, data in found}


def test_servers_are_told_by_srv_records_with_implicit_tls_first() -> None:
    assert _zone(records(table(), DOMAIN)) == {
        "_submissions._tcp": "0 0 465 relay.example.com.",
        "_submission._tcp": "10 0 587 relay.example.com.",
        "_imaps._tcp": "0 0 993 relay.example.com.",
        "_imap._tcp": "10 0 143 relay.example.com.",
    }


def test_pages_are_told_by_the_names_that_clients_ask_for() -> None:
    found = _zone(records(table(listener(587, Tls.STARTTLS)), DOMAIN, web_host="www.example.com"))
    assert found == {
        "_submission._tcp": "0 0 587 relay.example.com.",
        "autoconfig": "www.example.com.",
        "autodiscover": "www.example.com.",
        "_autodiscover._tcp": "0 0 443 www.example.com.",
    }


def test_name_that_is_the_pages_own_does_not_lead_to_itself() -> None:
    found = _zone(records(table(), DOMAIN, web_host="autoconfig.acme.example"))
    assert "autoconfig" not in found
    assert found["autodiscover"] == "autoconfig.acme.example."


def test_pages_on_another_port_are_told_by_the_record_that_has_one() -> None:
    found = _zone(records(table(), DOMAIN, web_host="www.example.com", web_port=8443))
    assert found["_autodiscover._tcp"] == "0 0 8443 www.example.com."
    assert "autoconfig" not in found


@pytest.mark.parametrize("web_host", ["localhost", "127.0.0.1", "192.0.2.1", None])
def test_pages_that_have_no_name_are_not_told(web_host: str | None) -> None:
    assert records(table(), DOMAIN, web_host=web_host) == records(table(), DOMAIN)


@pytest.mark.parametrize(
    "rows",
    [
        table(listener(587, Tls.STARTTLS, address="127.0.0.1")),
        table(listener(587, Tls.STARTTLS), hostname="localhost"),
        table(listener(587, Tls.STARTTLS), hostname="192.0.2.1"),
        table(listener(587, Tls.NONE)),
    ],
    ids=["loopback", "local name", "address", "no TLS"],
)
def test_server_that_others_cannot_use_by_name_is_not_told(rows: tuple[Server, ...]) -> None:
    assert records(rows, DOMAIN) == ()


def test_servers_for_other_domains_are_not_told() -> None:
    assert records(table(), "other.example") == ()


def test_international_domain_is_written_as_the_dns_has_it() -> None:
    providers = [Provider(name="main", host="smtp.example.net", domains=("münchen.example",))]
    rows = table(listener(587, Tls.STARTTLS), providers=providers)
    found = _zone(records(rows, "München.example"), "xn--mnchen-3ya.example")
    assert found == {"_submission._tcp": "0 0 587 relay.example.com."}


def test_comments_say_what_no_record_can() -> None:
    comments = [each for each in records(table(), DOMAIN, web_host="www.example.com") if each.startswith(";")]
    assert len(comments) == 2
    assert "relay.example.com needs an A or AAAA record" in comments[0]
    assert "certificate of www.example.com" in comments[1]


@pytest.mark.parametrize("domain", ["acme.example. A 192.0.2.1\nx", "acme.example;", "*.acme.example", "a\\.b", ""])
def test_what_is_no_domain_gets_into_no_zone(domain: str) -> None:
    providers = [Provider(name="open", kind=ProviderKind.SUBMISSION, host="smtp.example.net")]
    rows = table(listener(587, Tls.STARTTLS, provider="open"), providers=providers)
    with pytest.raises(NotOffered):
        records(rows, domain)
    with pytest.raises(NotOffered):
        records(rows, DOMAIN, web_host=domain + ".")
