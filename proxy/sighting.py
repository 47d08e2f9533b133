"""One sighting of one message by the relay: who sends it, to whom, and what the engine said of it so far.

It is values only; the tap (`proxy.capture`) asks, keeps content and hands all to the spool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import engine
from engine.address import canonical
from engine.capture import Capture
from engine.decision import Source
from engine.message import Message
from proxy.smtp.reply import Reply
from proxy.smtp.session import Envelope
from proxy.verdict import Verdict, Verdicts
from store.hashes import keyed_hash, message_hashes

__all__ = ["Sighting", "address_of", "hashes_of", "ids_of"]


@dataclass(slots=True, kw_only=True)
class Sighting:
    """`host` is the provider's name. `message` and `capture` are `None` until its header section could be read,
    `verdict` while nobody could be asked.
    """

    session: str
    login: str | None
    envelope: Envelope
    source: Source
    host: str
    message: Message | None = None
    capture: Capture | None = None
    verdict: Verdict | None = None

    def read(self, section: bytes) -> tuple[Capture, Message]:
        """Reads the header section; what a verdict is asked on."""
        self.message, self.capture = engine.read(section), self._capture()
        return self.capture, self.message

    def decide_as_undelivered(self, verdicts: Verdicts) -> None:
        """Decides again, now that nobody has got the message."""
        if self.message is not None and self.capture is not None and self.verdict is not None:
            question = engine.question(self.capture, self.message)
            capture = Capture(source=self.source, recipients=(), login=self.login)
            self.verdict = verdicts.reach(capture, self.message, question, self.verdict.answers)

    @property
    def is_asked_for(self) -> bool:
        """Whether a user asks for it to be logged: then it is kept, and decided by who can read all of it."""
        return bool(self.envelope.captures)

    @property
    def logs(self) -> bool:
        """Whether any portal logs the message."""
        return self.verdict is not None and self.verdict.logs

    @property
    def is_nobodys(self) -> bool:
        """Whether it is settled that no portal logs the message."""
        return self.verdict is not None and not self.verdict.logs

    def _capture(self) -> Capture:
        verdicts = [(address_of(each.path), each.reply) for each in self.envelope.recipients]
        return Capture(
            source=self.source,
            recipients=tuple(path for path, verdict in verdicts if verdict.is_positive),
            refused=tuple(path for path, verdict in verdicts if not verdict.is_positive),
            login=self.login,
        )

    # -- as facts of a spool entry ------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What every entry says."""
        facts: dict[str, Any] = {
            "source": self.source,
            "session": self.session,
            "login": self.login,
            "decisions": None if self.verdict is None else self.verdict.values,
        }
        if self.is_asked_for:
            facts["captures"] = sorted({canonical(address_of(each)) for each in self.envelope.captures})
        return facts

    def outcome(self, reply: Reply | None, hash_key: bytes) -> dict[str, Any]:
        """What the entry of a message says besides; `reply` is the provider's, where there is one already."""
        return {
            "reverse_path": _text(self.envelope.reverse_path or b""),
            "recipients": self.recipients(),
            "reply": reply.line() if reply is not None else None,
            "host": self.host,
            "outcome": "delivered" if reply is not None else None,
            # A message whose outcome stays unknown becomes a gap, which must know it when it comes again.
            "message_ids": ids_of(hash_key, self.message),
        }

    def recipients(self, refusal: Reply | None = None) -> list[dict[str, Any]]:
        """The envelope but for capture addresses; nobody got the message that was refused."""
        verdicts = ((each.path, each.reply) for each in self.envelope.recipients)
        if refusal is not None:
            verdicts = ((path, refusal if verdict.is_positive else verdict) for path, verdict in verdicts)
        return [
            {"address": _text(path), "accepted": verdict.is_positive, "reply": verdict.line()}
            for path, verdict in verdicts
        ]

    def hashes(self, hash_key: bytes) -> dict[str, Any]:
        """What an entry without content says of the message (`hashes_of`)."""
        return hashes_of(hash_key, self.message, self.verdict)


def ids_of(hash_key: bytes, message: Message | None) -> list[str]:
    """The keyed hash of the message's id."""
    named = message.message_id if message is not None else None
    return [keyed_hash(hash_key, named)] if named else []


def hashes_of(hash_key: bytes, message: Message | None, verdict: Verdict | None) -> dict[str, Any]:
    """Keyed hashes of the message (rules.md 4.3) and of the addresses that are no user's (8.2)."""
    if message is None:
        return {}
    with_print = verdict is None or verdict.follows_threads
    return {
        **message_hashes(hash_key, message, with_print=with_print),
        "addresses": verdict.addresses if verdict is not None else [],
    }


def address_of(path: bytes) -> str:
    """A forward-path as the engine takes it."""
    return path.decode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "replace")
