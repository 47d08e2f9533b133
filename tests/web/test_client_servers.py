"""The table of what mail clients can use: one row for each way in, best first."""

from __future__ import annotations

import pytest
from client_servers import DOMAIN, HOST, PROVIDERS, listener, table

from onrecord.web.autoconfig import NotOffered, Reach, find_server, offer_for, servers_for
from proxy.route import Provider, ProviderKind, Tls

EVERYBODY = Provider(name="open", host="smtp.example.net")
OTHER = Provider(name="other", host="smtp.other.example", domains=("other.example",))


class TestTheTable:
    def test_has_a_row_for_each_listener_for_mail_clients(self) -> None:
        rows = [(each.protocol, each.host, each.port, each.tls) for each in table()]
        assert rows == [
            ("SMTP", HOST, 465, Tls.IMPLICIT),
            ("IMAP", HOST, 993, Tls.IMPLICIT),
            ("SMTP", HOST, 587, Tls.STARTTLS),
            ("IMAP", HOST, 143, Tls.STARTTLS),
        ]

    def test_has_no_row_for_a_listener_for_other_servers(self) -> None:
        assert 25 not in [each.port for each in table()]

    def test_tells_one_way_once_however_many_addresses_it_has(self) -> None:
        rows = table(*(listener(587, Tls.STARTTLS, address=each) for each in ("0.0.0.0", "::", "192.0.2.1")))
        assert [each.port for each in rows] == [587]

    def test_has_the_port_that_clients_try_before_another_one(self) -> None:
        rows = table(listener(2465, Tls.IMPLICIT), listener(465, Tls.IMPLICIT))
        assert [each.port for each in rows] == [465, 2465]

    def test_has_no_row_for_a_port_that_the_system_chooses(self) -> None:
        assert table(listener(0, Tls.STARTTLS)) == ()

    def test_says_which_provider_gets_the_sessions(self) -> None:
        (row,) = table(listener(587, Tls.STARTTLS, provider="other"), providers=[*PROVIDERS, OTHER])
        assert (row.provider, row.domains) == ("other", ("other.example",))

    def test_says_which_domains_lead_somewhere_where_the_login_chooses(self) -> None:
        (row,) = table(listener(587, Tls.STARTTLS), providers=[*PROVIDERS, OTHER])
        assert (row.provider, row.domains) == (None, (DOMAIN, "other.example"))

    def test_counts_only_providers_of_the_listeners_kind(self) -> None:
        (row,) = table(listener(993, Tls.IMPLICIT, kind="imap"), providers=[*PROVIDERS, OTHER])
        assert not row.serves("other.example")


class TestAListenerOnLoopback:
    @pytest.mark.parametrize(
        ("address", "host"),
        [
            ("127.0.0.1", "localhost"),
            ("::1", "localhost"),
            ("localhost", "localhost"),
            ("127.0.0.2", "127.0.0.2"),
        ],
    )
    def test_is_marked_and_told_by_a_name_that_leads_to_it(self, address: str, host: str) -> None:
        (row,) = table(listener(587, Tls.STARTTLS, address=address))
        assert (row.host, row.reach) == (host, Reach.THIS_MACHINE)

    def test_comes_after_those_on_the_network(self) -> None:
        rows = table(listener(465, Tls.IMPLICIT, address="127.0.0.1"), listener(587, Tls.STARTTLS))
        assert [each.port for each in rows] == [587, 465]

    def test_is_not_handed_out_beside_those_on_the_network(self) -> None:
        rows = table(listener(465, Tls.IMPLICIT, address="127.0.0.1"), listener(587, Tls.STARTTLS))
        assert [each.port for each in servers_for(rows, DOMAIN)] == [587]

    def test_does_not_complete_an_offer_of_the_network(self) -> None:
        rows = table(listener(993, Tls.IMPLICIT, kind="imap", address="::1"), listener(587, Tls.STARTTLS))
        with pytest.raises(NotOffered, match="no IMAP server"):
            offer_for(rows, DOMAIN)

    def test_is_handed_out_where_there_is_nothing_else(self) -> None:
        rows = table(
            listener(2593, Tls.IMPLICIT, kind="imap", address="127.0.0.1"),
            listener(2565, Tls.IMPLICIT, address="127.0.0.1"),
        )
        offer = offer_for(rows, DOMAIN)
        assert [each.port for each in (*offer.incoming, *offer.outgoing)] == [2593, 2565]


class TestAnOffer:
    def test_has_both_sides_best_first(self) -> None:
        offer = offer_for(table(), DOMAIN)
        assert [each.port for each in offer.incoming] == [993, 143]
        assert [each.port for each in offer.outgoing] == [465, 587]

    def test_is_refused_to_a_domain_that_leads_nowhere(self) -> None:
        with pytest.raises(NotOffered, match=r"no SMTP and no IMAP server here for stranger\.example"):
            offer_for(table(), "stranger.example")

    def test_says_which_side_is_missing(self) -> None:
        with pytest.raises(NotOffered, match="no IMAP server"):
            offer_for(table(listener(587, Tls.STARTTLS)), DOMAIN)

    def test_is_for_everybody_where_a_provider_has_no_domains(self) -> None:
        rows = table(listener(587, Tls.STARTTLS, provider="open"), providers=[EVERYBODY])
        assert [each.port for each in servers_for(rows, "any.example")] == [587]

    def test_has_what_is_named_for_the_domain_before_what_takes_everybody(self) -> None:
        rows = table(
            listener(465, Tls.IMPLICIT, provider="open"),
            listener(587, Tls.STARTTLS),
            providers=[EVERYBODY, *PROVIDERS],
        )
        assert [each.port for each in servers_for(rows, DOMAIN)] == [587, 465]

    @pytest.mark.parametrize("domain", ["ACME.example", "acme.example.", " acme.example "])
    def test_takes_a_domain_as_people_write_it(self, domain: str) -> None:
        assert offer_for(table(), domain).domain == DOMAIN

    @pytest.mark.parametrize("domain", ["", "acme", "a b.example", "acme.example\nx", "x\x00.example", "<b>.example"])
    def test_is_refused_to_what_is_no_domain(self, domain: str) -> None:
        rows = table(
            listener(587, Tls.STARTTLS, provider="open"),
            listener(993, Tls.IMPLICIT, kind="imap", provider="open-imap"),
            providers=[EVERYBODY, Provider(name="open-imap", kind=ProviderKind.IMAP, host="imap.example.net")],
        )
        with pytest.raises(NotOffered):
            offer_for(rows, domain)


class TestFindingARow:
    @pytest.mark.parametrize("host", [HOST, "Relay.Example.COM", f"{HOST}."])
    def test_by_name_and_port(self, host: str) -> None:
        row = find_server(table(), host, 465)
        assert row is not None
        assert (row.port, row.tls) == (465, Tls.IMPLICIT)

    @pytest.mark.parametrize(("host", "port"), [(HOST, 25), (HOST, 22), ("127.0.0.1", 465), ("other.example", 465)])
    def test_finds_nothing_that_is_not_ours(self, host: str, port: int) -> None:
        assert find_server(table(), host, port) is None
