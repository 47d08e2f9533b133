"""What a server tells on its own of folders that are not open, once NOTIFY has asked it to (RFC 5465).

STATUS says how far a folder has come, LIST that there is another one. A server that cannot keep up says so, and tells
no more from then on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proxy.imap.command import Arguments, BadCommand
from proxy.imap.mailbox import decode_name
from proxy.imap_client.dialogue import Command
from proxy.imap_client.folders import MAX_FOLDERS, listed_in

__all__ = ["FolderStatus", "Notify", "Told", "status_in"]

STATUS = re.compile(rb"(?i)\* STATUS(?= )")
NUMBERS = re.compile(rb"\(([^()\r\n]*)\) ?\r\n\Z")
PAIR = re.compile(rb"(?i)\b(UIDNEXT|UIDVALIDITY) ([0-9]{1,10})\b")
# RFC 5465 §5.8
OVERFLOW = re.compile(rb"(?i)\* (?:OK|NO) \[NOTIFICATIONOVERFLOW\]")


@dataclass(frozen=True, slots=True)
class FolderStatus:
    """How far a folder has come. What was not told is `None`."""

    uidvalidity: int | None = None
    uidnext: int | None = None


def status_in(parts: list[bytes]) -> tuple[str, FolderStatus] | None:
    """The folder and the numbers of a STATUS response; `None` when it is another response."""
    start, end = STATUS.match(parts[0]), NUMBERS.search(parts[-1])
    if start is None or end is None:
        return None
    try:
        name = decode_name(Arguments(parts, start.end()).take())
    except BadCommand:
        return None
    numbers = {each.upper(): int(value) for each, value in PAIR.findall(end[1])}
    return name, FolderStatus(numbers.get(b"UIDVALIDITY"), numbers.get(b"UIDNEXT"))


class Notify(Command):
    """Asks to be told of what comes to any folder of the user's own, and how far each is now.

    The open folder stays as it is without NOTIFY: sequence numbers move only while a command is under way.
    """

    def octets(self) -> bytes:
        # RFC 5465 §5: whoever asks for new messages asks for those that go, too.
        events = b"MessageNew MessageExpunge"
        return b"NOTIFY SET STATUS (selected-delayed (%s)) (personal (%s MailboxName))\r\n" % (events, events)


@dataclass(slots=True)
class Told:
    """What was told and not looked at yet: the newest of each folder, and the names of folders."""

    statuses: dict[str, FolderStatus] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    has_overflowed: bool = False

    def hear(self, parts: list[bytes]) -> None:
        """An untagged response, whatever it is."""
        if (status := status_in(parts)) is not None:
            if status[0] in self.statuses or len(self.statuses) < MAX_FOLDERS:
                self.statuses[status[0]] = status[1]
        elif (mailbox := listed_in(parts)) is not None:
            if b"\\nonexistent" not in mailbox.attributes and len(self.names) < MAX_FOLDERS:
                self.names.add(mailbox.name)
        elif OVERFLOW.match(parts[0]):
            self.has_overflowed = True

    @property
    def is_anything(self) -> bool:
        """Whether there is something to look at."""
        return bool(self.statuses or self.names or self.has_overflowed)
