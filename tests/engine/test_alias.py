"""Ids that providers name in their final reply."""

from __future__ import annotations

import pytest

from engine.alias import ids_named

SES = "0100018f2b3c4d5e-0f1e2d3c-4b5a-6978-8695-a4b3c2d1e0f0-000000"
ROWS = [
    (
        "250 2.6.0 <AM0PR01MB1234@AM0PR01.eurprd01.prod.exchangelabs.com> [InternalId=12, Hostname=x] Queued mail",
        "smtp.office365.com",
        ("AM0PR01MB1234@AM0PR01.eurprd01.prod.exchangelabs.com",),
    ),
    (f"250 Ok {SES}", "email-smtp.us-east-1.amazonaws.com", (f"{SES}@email.amazonses.com",)),
    (f"250 Ok {SES}", "email-smtp.eu-west-1.amazonaws.com", (f"{SES}@eu-west-1.amazonses.com",)),
    (f"250 Ok {SES}", "email-smtp-fips.us-west-2.amazonaws.com", (f"{SES}@us-west-2.amazonses.com",)),
    (f"250 Ok {SES}", "smtp.example.com", ()),
    ("250 2.0.0 Ok: queued as 4F1B2C3D", "mail.example.com", ()),
    ("250 2.0.0 OK  1700000000 abc-20020a05600c - gsmtp", "smtp.gmail.com", ()),
    ("250 <no id in here> Ok", "smtp.example.com", ()),
    ("550 5.7.1 <a@b> rejected", "smtp.example.com", ()),
    ("", "", ()),
]


@pytest.mark.parametrize(("reply", "host", "ids"), ROWS)
def test_only_known_shapes_name_an_id(reply: str, host: str, ids: tuple[str, ...]) -> None:
    assert ids_named(reply, host) == ids
