"""The configuration profile for Apple's devices, read back as they read it."""

from __future__ import annotations

import plistlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from client_servers import DOMAIN, HOST, listener, table

from onrecord.web.autoconfig import offer_for
from onrecord.web.autoconfig.apple import profile
from proxy.route import Tls

ANN = "ann@acme.example"


def _profile(address: str = ANN, hostname: str = HOST, **more: Any) -> dict[str, Any]:
    octets = profile(address, offer_for(table(hostname=hostname), DOMAIN), **{"name": "Acme"} | more)
    read: dict[str, Any] = plistlib.loads(octets, fmt=plistlib.FMT_XML)
    return read


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)


def _identifiers(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["PayloadIdentifier"], each["PayloadUUID"]) for each in (found, *found["PayloadContent"])]


def test_profile_holds_one_mail_account_with_the_best_servers() -> None:
    found = _profile(full_name="Ann Archer")
    assert found["PayloadType"] == "Configuration"
    (mail,) = found["PayloadContent"]
    expected = {
        "PayloadType": "com.apple.mail.managed",
        "EmailAccountType": "EmailTypeIMAP",
        "EmailAddress": ANN,
        "EmailAccountName": "Ann Archer",
        "IncomingMailServerHostName": HOST,
        "IncomingMailServerPortNumber": 993,
        "IncomingMailServerUseSSL": True,
        "IncomingMailServerUsername": ANN,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": HOST,
        "OutgoingMailServerPortNumber": 465,
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": ANN,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
    }
    assert {key: mail[key] for key in expected} == expected


@pytest.mark.parametrize("key", ["PayloadType", "PayloadVersion", "PayloadIdentifier", "PayloadUUID"])
def test_every_payload_has_what_every_payload_must_have(key: str) -> None:
    found = _profile()
    assert all(key in each for each in (found, *found["PayloadContent"]))


def test_no_password_is_in_it() -> None:
    keys = set(_keys(_profile()))
    assert {each for each in keys if "password" in each.lower()} == {"OutgoingPasswordSameAsIncomingPassword"}


def test_profile_made_anew_takes_the_place_of_the_old_one() -> None:
    assert _identifiers(_profile()) == _identifiers(_profile("Ann@ACME.example", name="Another name"))
    assert profile(ANN, offer_for(table(), DOMAIN), name="Acme") == profile(
        ANN, offer_for(table(), DOMAIN), name="Acme"
    )


def test_profiles_of_two_people_and_of_two_installations_stand_side_by_side() -> None:
    several = [_profile(), _profile("bob@acme.example"), _profile(hostname="relay.example.net")]
    identifiers = [each for found in several for each in _identifiers(found)]
    assert len({identifier for identifier, _ in identifiers}) == len({uuid for _, uuid in identifiers}) == 6


def test_identifiers_are_of_the_form_that_apple_wants() -> None:
    for identifier, uuid in _identifiers(_profile()):
        assert identifier.startswith("com.example.relay.")
        assert str(UUID(uuid)).upper() == uuid


def test_encryption_is_off_only_where_there_is_none() -> None:
    rows = table(
        listener(2587, Tls.STARTTLS, address="127.0.0.1"), listener(2543, Tls.NONE, kind="imap", address="127.0.0.1")
    )
    (mail,) = plistlib.loads(profile(ANN, offer_for(rows, DOMAIN), name="Acme"))["PayloadContent"]
    assert (mail["IncomingMailServerUseSSL"], mail["OutgoingMailServerUseSSL"]) == (False, True)


def test_names_are_text_whatever_they_hold() -> None:
    found = _profile(name="A & B <b>", full_name="Zoë </string>")
    (mail,) = found["PayloadContent"]
    assert (mail["EmailAccountDescription"], mail["EmailAccountName"]) == ("A & B <b>", "Zoë </string>")
