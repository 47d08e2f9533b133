"""Many contacts at once: rows of an import, put into the directory in one transaction.

Each row is added, there already, or refused with a reason and a mend; a refused row stops none of the others. All that
the rows need to know of the directory is asked in a few queries for the whole batch.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store import schema
from store.database import slices
from store.directory import Directory
from store.directory_record import DirectoryError, PortalRecord, UserRecord, checked_address, checked_name

__all__ = ["ContactRow", "Fate", "Owners", "Refusal", "add_contacts"]


class Fate(StrEnum):
    """What became of a row that was not refused."""

    ADDED = "added"
    PRESENT = "present"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRow:
    """A row as typed. `owner` is an address or the name of a user."""

    primary: str
    others: tuple[str, ...] = ()
    name: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a row was not taken: the value, what is wrong with it, and how to mend it."""

    value: str
    why: str
    mend: str


class Owners:
    """The users of a portal by any of their addresses, and by name where only one has it."""

    def __init__(self, home: PortalRecord, users: Sequence[UserRecord]) -> None:
        self._home = home
        self._by_address: dict[str, UserRecord] = {}
        self._by_name: dict[str, list[UserRecord]] = {}
        for user in sorted(users, key=lambda each: each.id):
            for address in (user.account, *user.connected, *user.aliases):
                self._by_address.setdefault(home.canonical(address), user)
            if user.name:
                self._by_name.setdefault(user.name.casefold(), []).append(user)

    def find(self, owner: str) -> UserRecord | Refusal:
        """The user that `owner` names."""
        found = self._by_address.get(self._home.canonical(owner))
        if found is not None:
            return found
        named = self._by_name.get(" ".join(owner.split()).casefold(), [])
        if len(named) == 1:
            return named[0]
        if named:
            accounts = ", ".join(each.account for each in named)
            return Refusal(value=owner, why="is the name of several users", mend=f"write one of {accounts}")
        return Refusal(
            value=owner,
            why="is no user of the portal",
            mend="write the address of a user (onrecord user list), or leave the owner empty",
        )


@dataclass(slots=True, kw_only=True)
class _Holder:
    """A contact that stands in the directory, or that this batch adds. `form` is its primary address, canonical."""

    primary: str
    form: str
    name: str | None
    owner: int | None
    forms: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """A row whose every value is sound: `forms` gives the written address of each canonical one."""

    primary: str
    forms: dict[str, str]
    name: str | None
    owner: UserRecord | None


async def add_contacts(
    directory: Directory, home: PortalRecord, owners: Owners, rows: Sequence[ContactRow]
) -> list[Fate | Refusal]:
    """The fate of each of `rows`, in order. Raises `StoreUnavailable`, and then none of them was added."""
    checked = [_check(home, owners, row) for row in rows]
    sound = [each for each in checked if isinstance(each, _Checked)]
    if not sound:
        return [each for each in checked if isinstance(each, Refusal)]
    fates: list[Fate | Refusal] = []
    async with directory.change() as connection:
        forms = {form for each in sound for form in each.forms}
        holders = await _holders(connection, home, forms)
        erased = await directory.erased(connection, home, forms)
        fresh: list[_Checked] = []
        for each in checked:
            fate = each if isinstance(each, Refusal) else _why_erased(each, erased) or _place(each, holders)
            if isinstance(each, _Checked) and fate is Fate.ADDED:
                fresh.append(each)
            fates.append(fate)
        await _insert(connection, home, fresh)
        if fresh:
            await directory.note(connection, home.id, "contact.import", home.name, after={"contacts": len(fresh)})
    return fates


def _check(home: PortalRecord, owners: Owners, row: ContactRow) -> _Checked | Refusal:
    forms: dict[str, str] = {}
    for address in (row.primary, *row.others):
        try:
            written = checked_address(address)
        except DirectoryError as error:
            return Refusal(value=address, why=_why(error), mend="write it as name@domain, without a name beside it")
        forms.setdefault(home.canonical(written), written)
    try:
        name = checked_name(row.name)
    except DirectoryError as error:
        return Refusal(value=row.name[:40], why=str(error), mend="shorten or clean the name")
    owner = owners.find(row.owner) if row.owner else None
    if isinstance(owner, Refusal):
        return owner
    return _Checked(primary=next(iter(forms.values())), forms=forms, name=name, owner=owner)


def _why_erased(row: _Checked, erased: Container[str]) -> Refusal | None:
    """An import does not bring back who was erased (rules.md 8.5)."""
    for form, written in row.forms.items():
        if form in erased:
            return Refusal(value=written, why="was erased", mend="to bring it back, use: onrecord contact add --again")
    return None


def _why(error: DirectoryError) -> str:
    cause = str(error.__cause__ or error).rstrip(".")
    return f"is no e-mail address: {cause[:1].lower()}{cause[1:]}"


def _place(row: _Checked, holders: dict[str, _Holder]) -> Fate | Refusal:
    """Adds the row to `holders`, or finds it there."""
    for form, written in row.forms.items():
        holder = holders.get(form)
        if holder is not None:
            return Fate.PRESENT if (trouble := _difference(row, holder, written)) is None else trouble
    holder = _Holder(
        primary=row.primary,
        form=next(iter(row.forms)),
        name=row.name,
        owner=row.owner.id if row.owner else None,
        forms=set(row.forms),
    )
    holders.update(dict.fromkeys(row.forms, holder))
    return Fate.ADDED


def _difference(row: _Checked, holder: _Holder, written: str) -> Refusal | None:
    """In what the row differs from the contact that has one of its addresses; what it leaves out is no difference."""
    if not row.forms.keys() <= holder.forms or next(iter(row.forms)) != holder.form:
        return Refusal(
            value=written,
            why=f"belongs to the contact {holder.primary} already",
            mend="leave it out: an address is on one contact only, and an import does not change contacts",
        )
    if row.name is not None and row.name != holder.name:
        return Refusal(
            value=row.name,
            why=f"differs from the name of the contact {holder.primary}, {holder.name or 'which has none'}",
            mend="leave the row out: an import adds contacts and does not change them",
        )
    if row.owner is not None and row.owner.id != holder.owner:
        return Refusal(
            value=row.owner.account,
            why=f"is not the owner of the contact {holder.primary}",
            mend="leave the row out: an import adds contacts and does not change them",
        )
    return None


async def _holders(connection: AsyncConnection, home: PortalRecord, forms: set[str]) -> dict[str, _Holder]:
    """The contacts that hold any of `forms`, each under all of its own."""
    held, contact = schema.contact_address, schema.contact
    ids: set[int] = set()
    for asked in slices(forms):
        holding = select(held.c.contact).where(held.c.portal == home.id, held.c.canonical.in_(asked))
        ids.update(await connection.scalars(holding))
    holders: dict[int, _Holder] = {}
    by_form: dict[str, _Holder] = {}
    for some in slices(ids):
        for row in await connection.execute(select(contact).where(contact.c.id.in_(some))):
            form = home.canonical(row.primary_address)
            holders[row.id] = _Holder(primary=row.primary_address, form=form, name=row.name, owner=row.owner)
        for identifier, form in await connection.execute(
            select(held.c.contact, held.c.canonical).where(held.c.contact.in_(some))
        ):
            holders[identifier].forms.add(form)
            by_form[form] = holders[identifier]
    return by_form


async def _insert(connection: AsyncConnection, home: PortalRecord, rows: Sequence[_Checked]) -> None:
    if not rows:
        return
    table = schema.contact
    result = await connection.execute(
        insert(table).returning(table.c.id, sort_by_parameter_order=True),
        [
            {
                "portal": home.id,
                "primary_address": row.primary,
                "name": row.name,
                "owner": row.owner.id if row.owner else None,
            }
            for row in rows
        ],
    )
    addresses = [
        {"portal": home.id, "canonical": form, "contact": identifier, "written": written}
        for identifier, row in zip(result.scalars().all(), rows, strict=True)
        for form, written in row.forms.items()
    ]
    await connection.execute(insert(schema.contact_address), addresses)
