"""A configuration profile (.mobileconfig), by which mail on iPhones, iPads and Macs is set up.

It holds no password, ever: the device asks for it while the profile is installed. Its identifiers follow from address
and host name alone, so that a profile that is installed anew takes the place of the old one. It is not signed; the
device says so, and that it came over HTTPS from our page is what a user has to go by.
"""

from __future__ import annotations

import plistlib
from typing import Any
from uuid import NAMESPACE_DNS, UUID, uuid5

from engine.address import canonical
from onrecord.web.autoconfig.servers import Offer, Server
from proxy.route import Tls

__all__ = ["FILE_NAME", "MEDIA_TYPE", "profile"]

MEDIA_TYPE = "application/x-apple-aspen-config"
FILE_NAME = "mail.mobileconfig"
PASSWORD = "EmailAuthPassword"  # noqa: S105  # the name of a way to log in


def profile(address: str, offer: Offer, *, name: str, full_name: str | None = None) -> bytes:
    """The profile for one address. `name` is what the account is called; `full_name` stands in the mails it sends."""
    incoming, outgoing = offer.incoming[0], offer.outgoing[0]
    account = _identity(incoming.host, address)
    content: dict[str, Any] = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadDisplayName": name,
        "EmailAccountDescription": name,
        "EmailAccountType": "EmailTypeIMAP",
        "EmailAddress": address,
        "OutgoingPasswordSameAsIncomingPassword": True,
        "SMIMEEnabled": False,
        **_payload(incoming.host, uuid5(account, "mail")),
        **_server("Incoming", incoming, address),
        **_server("Outgoing", outgoing, address),
    }
    if full_name:
        content["EmailAccountName"] = full_name
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadDisplayName": f"{name}: {address}",
            "PayloadDescription": f"Sets up the mail of {address} to go through {incoming.host}.",
            "PayloadRemovalDisallowed": False,
            "PayloadContent": [content],
            **_payload(incoming.host, account),
        }
    )


def _identity(host: str, address: str) -> UUID:
    """The same however the address of one box is written."""
    return uuid5(uuid5(NAMESPACE_DNS, host.lower()), canonical(address))


def _payload(host: str, identity: UUID) -> dict[str, Any]:
    reverse = ".".join(reversed(host.lower().split(".")))
    return {"PayloadIdentifier": f"{reverse}.{identity}", "PayloadUUID": str(identity).upper(), "PayloadVersion": 1}


def _server(side: str, server: Server, address: str) -> dict[str, Any]:
    """With SSL on a device begins with TLS or asks for STARTTLS, as it finds the port."""
    prefix = f"{side}MailServer"
    return {
        f"{prefix}HostName": server.host,
        f"{prefix}PortNumber": server.port,
        f"{prefix}UseSSL": server.tls is not Tls.NONE,
        f"{prefix}Username": address,
        f"{prefix}Authentication": PASSWORD,
    }
