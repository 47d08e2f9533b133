"""Connected mailboxes: where a user's mail lies, and the sealed secret that opens it.

A secret is bound to its row. It has a version; whoever replaces it names the one
that was read, so that an answer that comes late never overwrites what a user has connected anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.address import canonical
from store import schema
from store.audit import note_change
from store.database import Database
from store.directory import Directory
from store.directory_record import DirectoryError, PortalRecord, UserRecord, checked_address
from store.mailbox_secret import MailboxSecret, Password, secret_of, to_octets
from store.mailbox_state import MailboxState, is_observable
from store.observed import forget_unobserved
from store.sealing import Sealer, SealingError, key_id_of

__all__ = ["Forgotten", "Held", "MailboxGone", "MailboxRecord", "Mailboxes", "NewMailbox"]

MAX_TROUBLE = 300  # characters, as wide as the column
ITSELF = "onrecord"  # who notices that a mailbox cannot be opened any more
TABLE = schema.connected_mailbox


class MailboxGone(Exception):
    """The mailbox is connected no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxRecord:
    """A connected mailbox. `server` is the name of a provider; `issuer` that of an OAuth issuer, none for a password.

    `trouble` is what went wrong last; while the state is `OK` it may pass by itself.
    """

    id: int
    portal: str
    user: str
    address: str
    server: str
    login: str
    mechanism: str
    issuer: str | None
    state: MailboxState
    trouble: str | None
    connected_at: float
    changed_at: float
    observer: str | None
    observer_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMailbox:
    """What is to be connected."""

    address: str
    server: str
    login: str
    mechanism: str
    issuer: str | None
    secret: MailboxSecret


@dataclass(frozen=True, slots=True)
class Held:
    """A mailbox with its secret as it was at `version`."""

    record: MailboxRecord
    secret: MailboxSecret
    version: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A mailbox that is connected no more, and the secret that opened it last, unless no key of ours opens that."""

    record: MailboxRecord
    secret: MailboxSecret | None


class Mailboxes:
    """All questions about connected mailboxes and changes of them. `clock` gives Unix time."""

    def __init__(self, database: Database, sealer: Sealer, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    # -- by administrators --------------------------------------------------------------------------------------------

    async def connect(
        self, directory: Directory, home: PortalRecord, user: UserRecord, new: NewMailbox
    ) -> MailboxRecord:
        """Connects a mailbox, or connects it anew, and then it keeps its id. At another server it is another mailbox:
        how far the one before was read is forgotten.

        Raises `DirectoryError` when it is another user's, and `SealingError`.
        """
        address = checked_address(new.address)
        mine = (TABLE.c.portal == home.id) & (TABLE.c.canonical == _canonical(home, address))
        now = self._clock()
        values: dict[str, Any] = {
            "address": address,
            "server": new.server,
            "login": new.login,
            "mechanism": new.mechanism,
            "issuer": new.issuer,
        }
        fresh = {"state": MailboxState.OK, "trouble": None, "changed_at": now, "renewing_until": None}
        async with directory.change() as connection:
            row = (await connection.execute(_wanted().where(mine))).first()
            if row is None:
                added = await connection.execute(
                    insert(TABLE).values(
                        **values, **fresh, portal=home.id, user=user.id, canonical=_canonical(home, address),
                        secret=b"", version=0, connected_at=now,
                    )
                )  # fmt: skip
                identifier = int(added.inserted_primary_key[0])  # type: ignore[index]  # one row, one key
            elif row.user != user.id:
                raise DirectoryError(
                    f"{address} is connected by the user {row.account} already; disconnect it there first"
                )
            else:
                identifier, before = row.id, row
                await connection.execute(update(TABLE).where(TABLE.c.id == identifier).values(**values, **fresh))
                if before.server != new.server:
                    await forget_unobserved(connection, [before.address])
            row = (await connection.execute(_wanted().where(TABLE.c.id == identifier))).one()
            await self._put_secret(connection, row, new.secret)
            await directory.note(connection, home.id, "mailbox.connect", address, after=values | {"user": user.account})
        return _record(row)

    async def disconnect(self, directory: Directory, home: PortalRecord, address: str) -> Forgotten:
        """Forgets a mailbox with its secret and how far it was read. Raises `DirectoryError` when it is not there."""
        record = await self.mailbox(home, address)
        secret = None
        async with directory.change() as connection:
            row = (await connection.execute(_wanted().where(TABLE.c.id == record.id))).first()
            if row is not None:
                with suppress(SealingError):  # without the key it is forgotten all the same
                    secret = self._open(row)
            await connection.execute(delete(TABLE).where(TABLE.c.id == record.id))
            await forget_unobserved(connection, [record.address])
            before = {"user": record.user, "server": record.server, "login": record.login}
            await directory.note(connection, home.id, "mailbox.disconnect", record.address, before=before)
        return Forgotten(record, secret)

    async def all(self, home: PortalRecord | None = None) -> list[MailboxRecord]:
        """The mailboxes of a portal, or of all, by portal and address."""
        wanted = _wanted().order_by(schema.portal.c.name, TABLE.c.canonical)
        if home is not None:
            wanted = wanted.where(TABLE.c.portal == home.id)
        async with self._database.read() as connection:
            return [_record(row) for row in await connection.execute(wanted)]

    async def observable(self) -> list[MailboxRecord]:
        """Those that are to be observed, by id: they open, and their users have given access and are active."""
        wanted = _wanted().where(is_observable()).order_by(TABLE.c.id)
        async with self._database.read() as connection:
            return [_record(row) for row in await connection.execute(wanted)]

    async def mailbox(self, home: PortalRecord, address: str) -> MailboxRecord:
        """The mailbox of that address. Raises `DirectoryError`."""
        mine = (TABLE.c.portal == home.id) & (TABLE.c.canonical == _canonical(home, address))
        async with self._database.read() as connection:
            row = (await connection.execute(_wanted().where(mine))).first()
        if row is None:
            raise DirectoryError(f"{address!r} is no connected mailbox of {home.name}; see: onrecord mailbox list")
        return _record(row)

    async def reseal(self, directory: Directory) -> int:
        """Seals with the first key what was sealed with another, all in one transaction; how many there were.

        Raises `SealingError` when a secret cannot be opened, and then all stay as they were.
        """
        done: dict[int, int] = {}
        async with directory.change() as connection:
            current = self._sealer.current
            for row in (await connection.execute(_wanted())).all():
                if _key_id(row) != current:
                    await self._put_secret(connection, row, self._open(row), renewed=False)
                    done[row.portal] = done.get(row.portal, 0) + 1
            for portal, number in done.items():
                after = {"mailboxes": number, "key": current.hex()}
                await directory.note(connection, portal, "mailbox.rekey", "connected mailboxes", after=after)
        return sum(done.values())

    async def key_ids(self) -> set[bytes]:
        """The ids of all keys that secrets are sealed with. Raises `SealingError`."""
        async with self._database.read() as connection:
            return {_key_id(row) for row in await connection.execute(_wanted())}

    # -- by who observes them -----------------------------------------------------------------------------------------

    async def note_observers(self, states: Mapping[int, str | None]) -> None:
        """What the observers of these mailboxes are doing now; `None` where there is none."""
        now = self._clock()
        async with self._database.write() as connection:
            for mailbox, state in states.items():
                values = {"observer": state, "observer_at": now if state is not None else None}
                await connection.execute(update(TABLE).where(TABLE.c.id == mailbox).values(**values))

    async def forget_observers(self) -> None:
        """Nobody observes any mailbox."""
        async with self._database.write() as connection:
            await connection.execute(update(TABLE).values(observer=None, observer_at=None))

    # -- by whoever opens them ----------------------------------------------------------------------------------------

    async def held(self, mailbox: int) -> Held:
        """The mailbox with its secret. Raises `MailboxGone` or `SealingError`."""
        async with self._database.read() as connection:
            row = (await connection.execute(_wanted().where(TABLE.c.id == mailbox))).first()
        if row is None:
            raise MailboxGone(f"mailbox {mailbox} is not connected")
        return Held(_record(row), self._open(row), row.version)

    async def claim_renewal(self, mailbox: int, version: int, *, seconds: float) -> bool:
        """Whether the caller, and nobody else for so long, may ask for a new token in the place of that version."""
        now = self._clock()
        is_free = or_(TABLE.c.renewing_until.is_(None), TABLE.c.renewing_until <= now)
        mine = (TABLE.c.id == mailbox) & (TABLE.c.version == version) & is_free
        async with self._database.write() as connection:
            claimed = await connection.execute(update(TABLE).where(mine).values(renewing_until=now + seconds))
        return claimed.rowcount == 1

    async def renew(self, mailbox: int, version: int, secret: MailboxSecret) -> bool:
        """Puts a renewed secret in the place of `version` and ends the claim; whether that version was still there.

        Raises `SealingError`.
        """
        async with self._database.write() as connection:
            row = await _at_version(connection, mailbox, version)
            if row is None:
                return False
            await self._put_secret(connection, row, secret)
            await connection.execute(update(TABLE).where(TABLE.c.id == mailbox).values(renewing_until=None))
        return True

    async def note_trouble(self, mailbox: int, version: int, text: str | None) -> None:
        """What went wrong and may pass by itself, or `None` when all is well; ends a claim."""
        mine = (TABLE.c.id == mailbox) & (TABLE.c.version == version)
        async with self._database.write() as connection:
            values = {"trouble": _shortened(text), "renewing_until": None}
            await connection.execute(update(TABLE).where(mine).values(**values))

    async def need_reconnect(self, mailbox: int, version: int, text: str) -> bool:
        """Says that `version` opens the mailbox no more; whether that version was still there. Ends a claim."""
        async with self._database.write() as connection:
            row = await _at_version(connection, mailbox, version)
            if row is None:
                return False
            values = {"state": MailboxState.NEEDS_RECONNECT, "trouble": _shortened(text), "changed_at": self._clock()}
            await connection.execute(update(TABLE).where(TABLE.c.id == mailbox).values(**values, renewing_until=None))
            if row.state != MailboxState.NEEDS_RECONNECT:
                await note_change(
                    connection,
                    portal=row.portal,
                    who=ITSELF,
                    action="mailbox.state",
                    subject=row.address,
                    before={"state": row.state},
                    after={"state": MailboxState.NEEDS_RECONNECT, "trouble": _shortened(text)},
                )
        return True

    # -- secrets ------------------------------------------------------------------------------------------------------

    async def _put_secret(
        self, connection: AsyncConnection, row: Any, secret: MailboxSecret, *, renewed: bool = True
    ) -> None:
        # Sealed while the database is locked: a key that was taken away meanwhile is not used any more.
        sealed = self._sealer.seal(to_octets(secret), _place(row))
        values = {"secret": sealed, "version": row.version + int(renewed)}
        await connection.execute(update(TABLE).where(TABLE.c.id == row.id).values(**values))

    def _open(self, row: Any) -> MailboxSecret:
        try:
            secret = secret_of(self._sealer.open(row.secret, _place(row)))
        except SealingError as error:
            raise SealingError(
                f"the secret of mailbox {row.id} ({row.address}) does not open: {error}; "
                f"or connect it again: onrecord mailbox connect {row.address}"
            ) from error
        if isinstance(secret, Password) is not (row.issuer is None):
            raise SealingError(
                f"the secret of mailbox {row.id} ({row.address}) is of another kind than its row says; "
                f"connect it again: onrecord mailbox connect {row.address}"
            )
        return secret


def _place(row: Any) -> bytes:
    """What a secret is bound to: a change of the database sends it to no other server, nor gives the mail to others."""
    bound = (row.portal, row.id, row.user, row.server, row.login, row.mechanism, row.issuer)
    return json.dumps(["connected_mailbox", *bound]).encode()


def _key_id(row: Any) -> bytes:
    try:
        return key_id_of(row.secret)
    except SealingError as error:
        raise SealingError(
            f"the secret of mailbox {row.id} ({row.address}): {error}; "
            f"connect it again: onrecord mailbox connect {row.address}"
        ) from error


async def _at_version(connection: AsyncConnection, mailbox: int, version: int) -> Any:
    wanted = _wanted().where(TABLE.c.id == mailbox, TABLE.c.version == version)
    return (await connection.execute(wanted)).first()


def _wanted() -> Any:
    portals, users = schema.portal, schema.user
    wanted = select(TABLE, portals.c.name.label("portal_name"), users.c.account)
    return wanted.join(portals, portals.c.id == TABLE.c.portal).join(users, users.c.id == TABLE.c.user)


def _record(row: Any) -> MailboxRecord:
    return MailboxRecord(
        id=row.id,
        portal=row.portal_name,
        user=row.account,
        address=row.address,
        server=row.server,
        login=row.login,
        mechanism=row.mechanism,
        issuer=row.issuer,
        state=MailboxState(row.state),
        trouble=row.trouble,
        connected_at=row.connected_at,
        changed_at=row.changed_at,
        observer=row.observer,
        observer_at=row.observer_at,
    )


def _canonical(home: PortalRecord, address: str) -> str:
    return canonical(address, frozenset(home.subaddressed_domains))


def _shortened(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())[:MAX_TROUBLE]
