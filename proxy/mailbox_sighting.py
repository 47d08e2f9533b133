"""One sighting of one message in a mailbox: whose mailbox, which folder, and what the engine said of it so far.

It is values only; who watches the mailbox asks, keeps content and hands all to the spool.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import engine
from engine.address import canonical
from engine.capture import Capture, Folder
from engine.decision import Source
from engine.message import Message
from proxy.sighting import hashes_of, ids_of
from proxy.verdict import Verdict, Verdicts
from store.hashes import keyed_hash

__all__ = ["MailboxSighting"]

KEY_LENGTH = 40  # hexadecimal digits, as the store's column takes them: 160 bits, which do not meet by chance


@dataclass(slots=True, kw_only=True)
class MailboxSighting:
    """`mailbox` is the address whose mail it is. `message` and `capture` are `None` until its header section could be
    read, `verdict` while nobody could be asked.
    """

    session: str
    source: Source
    mailbox: str
    folder: Folder | None
    message: Message | None = None
    capture: Capture | None = None
    verdict: Verdict | None = None
    digest: str = ""

    def read(self, section: bytes) -> tuple[Capture, Message]:
        """Reads the header section; what a verdict is asked on."""
        self.digest = hashlib.blake2b(section, digest_size=16).hexdigest()
        self.message = engine.read(section)
        self.capture = Capture(source=self.source, mailbox=self.mailbox, folder=self.folder)
        return self.capture, self.message

    def move(self, folder: Folder, verdicts: Verdicts) -> None:
        """It turns out to be in another folder: what was said of it is said anew."""
        self.folder = folder
        if self.capture is None or self.message is None:
            return
        self.capture = replace(self.capture, folder=folder)
        if self.verdict is not None:
            question = engine.question(self.capture, self.message)
            self.verdict = verdicts.reach(self.capture, self.message, question, self.verdict.answers)

    @property
    def is_open(self) -> bool:
        """Whether the recorder may come to another verdict, by a proof of the author or by what is logged later."""
        verdict, message = self.verdict, self.message
        if verdict is None or message is None:
            return True
        answers = {each.portal.id: each for each in verdict.answers}
        return any(
            engine.needs_proof(each) or engine.waits_for_parents(each, message, answers[each.portal])
            for each in verdict.decisions
        )

    @property
    def is_wanted(self) -> bool:
        """Whether its content is to be kept: somebody logs it, or may yet."""
        return self.verdict is None or self.verdict.logs or self.is_open

    @property
    def is_nobodys(self) -> bool:
        """Whether it concerns no portal."""
        return self.verdict is not None and not self.verdict.decisions

    # -- as a spool entry ---------------------------------------------------------------------------------------------

    def key(self, hash_key: bytes, size: int, *, uidvalidity: int | None = None, uid: int | None = None) -> str:
        """The capture key. The same message in the same mailbox has the same one, whoever sees it and however often,
        so that the log takes no notice when it is seen again; unless it was moved out of Junk, Trash or Drafts.

        In the folder for the log each copy has its own, because putting one there is asking once more; and so has each
        session that asks by name (`Source.MANUAL`).
        """
        mailbox, folder = canonical(self.mailbox), self.folder or ""
        request = ""
        if self.source is Source.MANUAL:
            request = f"\n{self.session}"
        elif self.folder is Folder.LOG and uid is not None:
            request = f"\n{uidvalidity}\n{uid}"
        parts = f"{self.source}\n{mailbox}\n{folder}\n{size}\n{self.digest}{request}"
        return keyed_hash(hash_key, parts)[:KEY_LENGTH]

    def facts(self, hash_key: bytes, *, has_content: bool) -> dict[str, Any]:
        """What its entry says. Where it is open and there is content, there are no decisions: the recorder makes them.

        Without content they stand as they are, and hashes tell what it was.
        """
        is_decided = self.verdict is not None and not (has_content and self.is_open)
        facts = {
            "source": self.source,
            "session": self.session,
            "login": None,
            "mailbox": self.mailbox,
            "folder": self.folder,
            "decisions": self.verdict.values if self.verdict is not None and is_decided else None,
        }
        if has_content:
            return facts | {"message_ids": ids_of(hash_key, self.message)}
        return facts | hashes_of(hash_key, self.message, self.verdict)
