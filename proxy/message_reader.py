"""Reading messages of the folder that is open: header sections in batches, and a body only where it is to be logged.

It keeps no account of what was read: who reads a folder on and on does (`proxy.observed_folder`), and who reads once
does not need it (`proxy.mailbox_search`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.capture import Folder
from engine.decision import Source
from proxy.imap_client.messages import Body, Fetched, Headers
from proxy.mailbox_client import MailboxClient
from proxy.mailbox_sighting import MailboxSighting
from proxy.observed_message import Copy, ObservedMessages

__all__ = ["BATCH", "MessageReader"]

BATCH = 20  # header sections that are fetched, and decided, together
FIRST_OCTETS = 32_768  # of each; longer ones are fetched again alone, so a batch takes 640 KiB at most


@dataclass(slots=True)
class MessageReader:
    """Reads on `client`, in a folder with `uidvalidity`; what is found goes to `messages`.

    All methods raise `CommandRefused` and `MailboxLost`.
    """

    client: MailboxClient
    messages: ObservedMessages
    uidvalidity: int | None = None

    async def headers(self, uids: Sequence[int]) -> list[Fetched]:
        """What there is of these, at most a `BATCH`, with their header sections."""
        found = []
        for each in (await self.client.ask(Headers(uids, FIRST_OCTETS))).found:
            if not each.is_cut:
                found.append(each)
                continue
            whole = await self.client.ask(Headers([each.uid], self.messages.captures.limits.header_section))
            found.append(whole.found[0] if whole.found else each)
        return found

    async def judge(
        self, fetched: Fetched, folder: Folder | None = None, *, source: Source = Source.OBSERVER
    ) -> MailboxSighting:
        """What is to be done with a message that lies in `folder`. Raises `StoreUnavailable` too."""
        use = Folder.DRAFTS if "\\draft" in fetched.flags else folder
        return await self.messages.judge(fetched.section, use, source=source)

    async def take(self, fetched: Fetched, sighting: MailboxSighting) -> None:
        """Hands a message to the spool, with its body where that is wanted; `messages.settle` waits for that."""
        if not sighting.is_wanted:
            self.messages.note(sighting, self._copy(fetched))
        elif fetched.size > self.messages.captures.limits.message:
            self.messages.leave_gap(sighting, self._copy(fetched), "too_large")
        else:
            await self._take_body(fetched, sighting)

    async def whole(self, fetched: Fetched) -> bytes | None:
        """All of a message, in memory; `None` when it is gone, or larger than what is kept."""
        limit = self.messages.captures.limits.message
        if fetched.size > limit:
            return None
        content = bytearray()
        body = await self.client.ask(Body(fetched.uid, content.extend, limit))
        return bytes(content) if body.is_whole else None

    async def _take_body(self, fetched: Fetched, sighting: MailboxSighting) -> None:
        content = self.messages.content()
        try:
            body = await self.client.ask(Body(fetched.uid, content.take, self.messages.captures.limits.message))
            if body.is_whole:
                content.finish()
                self.messages.keep(sighting, self._copy(fetched), content)
                return
        except BaseException:
            content.discard()
            raise
        content.discard()
        self.messages.leave_gap(sighting, self._copy(fetched), "expunged")

    def _copy(self, fetched: Fetched) -> Copy:
        return Copy(size=fetched.size, uid=fetched.uid, uidvalidity=self.uidvalidity)
