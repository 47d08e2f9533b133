"""What tells mail clients how to reach us: no web framework in here.

`servers` makes one table from the listeners; `thunderbird`, `outlook`, `apple` and `dns` write it in the forms that
clients read, and `qr` leads a telephone to a page.
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

__all__ = [
    "LOGIN_FORM",
    "NotOffered",
    "Offer",
    "Reach",
    "Server",
    "find_server",
    "offer_for",
    "servers",
    "servers_for",
]
