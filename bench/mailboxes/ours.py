"""onrecord before the mailboxes: as `ours` has it, with a door for each kind of legs. Every login is a user.

Beside clients no session of our own reads along: others' proxies have none either. Observers have a cell of their own.
"""

from __future__ import annotations

from cells import LOGGED, UNLOGGED
from ours import count, start
from processes import free_port
from system import STRANGER

from mailboxes.cells import CELLS, Legs
from mailboxes.provider import AUTHOR_OF_ALL
from mailboxes.system import Site, System

__all__ = ["start_logged", "start_unlogged"]

DOORS = """
[limits]
connections = 5000

[[provider]]
name = "plain"
kind = "imap"
host = "127.0.0.1"
port = {provider.plain}
tls = "none"
companion = false

[[provider]]
name = "secure"
kind = "imap"
host = "127.0.0.1"
port = {provider.tls}
tls = "implicit"
companion = false
ca_file = "{authority}"
"""
DOOR = """
[[listener]]
kind = "imap"
port = {port}
tls = "{tls}"
provider = "{provider}"
"""
KINDS = {Legs.CLEAR: ("none", "plain"), Legs.CLIENT_TLS: ("implicit", "plain"), Legs.BOTH_TLS: ("implicit", "secure")}


def start_logged(site: Site) -> System:
    """All mail is of a contact; what counts are the captures of the log, one for each message of each mailbox."""
    return _start(site, LOGGED, AUTHOR_OF_ALL, "select count(*) from capture")


def start_unlogged(site: Site) -> System:
    """All mail is of a stranger; what counts are the decisions, and a record would be one too many."""
    statement = "select count(*) filter (where email is null and decision = 'skip') from decision"
    return _start(site, UNLOGGED, STRANGER, statement)


def _start(site: Site, name: str, contact: str, statement: str) -> System:
    ports = {legs: free_port() for legs in Legs}
    doors = DOORS.format(provider=site.provider, authority=site.certificate.certificate)
    for legs, (tls, provider) in KINDS.items():
        doors += DOOR.format(port=ports[legs], tls=tls, provider=provider)
    users = {login for cell in CELLS.values() for login in cell.logins}
    pid, database = start(
        site.processes, site.certificate, name, doors, ports=ports.values(), users=users, contacts=(contact,)
    )
    return System(name=name, ports=ports, pid=pid, recorded=lambda: count(database, statement))
