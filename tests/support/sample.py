"""The sample portal that worked examples speak of: Ann, Bob, Cy, Dee and Eve write with Kim, Lee, Max, Nia and Bo."""

from __future__ import annotations

from engine.directory import Rule
from store.directory import Directory

__all__ = ["sample_directory"]


async def sample_directory(directory: Directory, *, rule: Rule = Rule.ALL) -> None:
    """Fills an empty directory with portal P1."""
    await directory.add_portal("P1", rule=rule, bcc_address="log-p1@cap.example", forward_address="fwd-p1@cap.example")
    people = (
        ("ann@acme.example", "Ann", ["sales@acme.example"], True),
        ("bob@acme.example", "Bob", [], True),
        ("dee@acme.example", "Dee", [], False),
        ("eve@acme.example", "Eve", [], True),
    )
    for address, name, aliases, access in people:
        await directory.add_user(
            "P1", address, name=name, aliases=aliases, connected=[address], personal_email_access=access
        )
    await directory.add_user("P1", "cy@acme.example", name="Cy")
    await directory.set_user("P1", "eve@acme.example", active=False)
    contacts = (
        ("kim@cust.example", "Kim", ["kim.k@gmail.com"], "ann@acme.example"),
        ("lee@cust.example", "Lee", [], "bob@acme.example"),
        ("max@other.example", "Max", [], None),
        ("nia@other.example", "Nia", [], "eve@acme.example"),
        ("bob@acme.example", "Bo", [], "ann@acme.example"),
    )
    for primary, name, others, owner in contacts:
        await directory.add_contact("P1", primary, name=name, others=others, owner=owner)
    await directory.add_never_log("P1", "*@secret.example")
