"""What tells mail clients how to reach us, and people why they do not: no web framework in here.

`servers` makes one table from the listeners; `thunderbird`, `outlook`, `apple` and `dns` write it in the forms that
clients read, `qr` leads a telephone to a page, and `trouble` tries a row of the table.
"""

from __future__ import annotations

from onrecord.web.autoconfig.servers import (
    LOGIN_FORM,
    NotOffered,
    Offer,
    Reach,
    Server,
    find_server,
    offer_for,
    servers,
    servers_for,
)
from onrecord.web.autoconfig.trouble import Diagnosis, Finding, Patience, diagnose

__all__ = [
    "LOGIN_FORM",
    "Diagnosis",
    "Finding",
    "NotOffered",
    "Offer",
    "Patience",
    "Reach",
    "Server",
    "diagnose",
    "find_server",
    "offer_for",
    "servers",
    "servers_for",
]
