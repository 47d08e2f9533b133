"""What became of a message that lies in a mailbox: whether it is in the log, or why it is not."""

from __future__ import annotations

from sqlalchemy import select

from engine.decision import Outcome, Reason
from engine.message import Message
from store import schema
from store.database import Database
from store.hashes import message_hashes

__all__ = ["Fates"]


class Fates:
    """What one portal knows of messages. `hash_key` is that of the keyed hashes."""

    def __init__(self, database: Database, hash_key: bytes, portal: int) -> None:
        self._database = database
        self._hash_key = hash_key
        self._portal = portal

    async def fate(self, message: Message) -> Outcome | Reason | None:
        """`Outcome.LOG` when it is in the log, or was until it was deleted there; else why it was skipped when it was
        last decided on; `None` when nothing is known of it. Raises `StoreUnavailable`.
        """
        hashes = message_hashes(self._hash_key, message)
        known = hashes["message_ids"] or hashes["prints"]
        named, hashed, decision = schema.email_id, schema.decision_hash, schema.decision
        logged = select(named.c.email).where(named.c.portal == self._portal, named.c.hash.in_(known)).limit(1)
        decided = (
            select(decision.c.reason)
            .join(hashed, hashed.c.decision == decision.c.id)
            .where(decision.c.portal == self._portal, decision.c.decision == Outcome.SKIP, hashed.c.hash.in_(known))
            .order_by(decision.c.at.desc(), decision.c.id.desc())
            .limit(1)
        )
        async with self._database.read() as connection:
            if (await connection.execute(logged)).first() is not None:
                return Outcome.LOG
            reason = await connection.scalar(decided)
        return None if reason is None else Reason(reason)
