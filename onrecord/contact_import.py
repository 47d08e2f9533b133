"""Importing contacts from a CSV file, of any length in little memory.

The first line names the columns; `;`, `,` or a tab separates them, whichever stands there most. Rows go to the store in
batches, each a transaction, so that an import that was stopped is finished by running it again. A row that cannot be
taken is reported with its line, and the rest goes on; after a quotation mark that is never closed, too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from store.contact_batch import ContactRow, Fate, Owners, Refusal, add_contacts
from store.directory import Directory, DirectoryError, PortalRecord

__all__ = ["ContactFile", "Counts", "Refused", "import_contacts"]

BATCH_ROWS = 1000  # some 50 ms of the store's write lock, so that the recorder is not kept waiting
MAX_LINE = 65536  # characters; a contact has hundreds
MAX_RECORD_LINES = 50  # a quoted value may hold line ends; a quotation mark that is not closed must not eat the file

# Names of columns as the common programs write them: in lower case, letters and digits only.
PRIMARY = {"email", "emails", "mail", "emailaddress", "primary", "primaryemail", "primaryaddress", "email1value"}
PRIMARY |= {"primaryemailaddress", "email1address", "emailadresse"}
OTHERS = {"other", "others", "otheraddress", "otheraddresses", "otheremail", "otheremails", "otheremailaddresses"}
OTHERS |= {"additionalemail", "additionalemails", "additionaladdresses", "additionalemailaddresses", "secondaryemail"}
OTHER_NUMBERED = re.compile(r"(?:email|mail|emailaddress)[2-9](?:value|address)?")
NAME = {"name", "fullname", "displayname", "contactname"}
FIRST_NAME = {"firstname", "givenname", "vorname"}
LAST_NAME = {"lastname", "familyname", "surname", "nachname"}
OWNER = {"owner", "contactowner", "owneremail", "besitzer"}
QUOTED = re.compile(r'"[^"]*"')
SEPARATOR_LINE = re.compile(r"sep=([,;\t|])", re.IGNORECASE)  # how Excel names it, before the columns
SURROGATE = re.compile("[\ud800-\udfff]")
SEPARATOR = re.compile(r"[\s;,|]+")  # between several addresses in one value


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A row that was not taken, by the number of its first line."""

    line: int
    refusal: Refusal


@dataclass(slots=True, kw_only=True)
class Counts:
    """How the rows fared."""

    added: int = 0
    present: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Where each value stands in a row."""

    count: int
    primary: int
    others: tuple[int, ...]
    name: int | None
    first_name: int | None
    last_name: int | None
    owner: int | None

    def row(self, values: list[str]) -> ContactRow:
        """The contact of a line, as typed."""

        def value(place: int | None) -> str:
            return values[place].strip() if place is not None and place < len(values) else ""

        addresses = [value(self.primary)]
        for place in self.others:
            addresses += SEPARATOR.split(value(place))
        addresses = [each for each in addresses if each]
        return ContactRow(
            primary=addresses[0] if addresses else "",
            others=tuple(addresses[1:]),
            name=value(self.name) or f"{value(self.first_name)} {value(self.last_name)}",
            owner=value(self.owner),
        )


class _TooLong(Exception):
    """A record that goes on and on."""


class ContactFile:
    """An open CSV file, read once from the start. Opening it raises `DirectoryError`, as does a useless header."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
            self.size = path.stat().st_size if path.is_file() else None
        except OSError as error:
            raise DirectoryError(f"{path}: cannot be read ({error.strerror}); name a CSV file") from error
        # An octet that is no UTF-8 costs its own row only, so it must get that far.
        self._text = io.TextIOWrapper(self._file, "utf-8-sig", errors="surrogateescape")
        self._waiting: list[str] = []
        self._line = 0
        self._delimiter = ","
        try:
            self.columns, self.ignored = self._read_header(path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ContactFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._text.close()

    def position(self) -> int:
        """Octets read so far, near enough for a progress bar."""
        return self._file.tell() if self.size is not None else 0

    def rows(self) -> Iterator[tuple[int, ContactRow | Refusal]]:
        """Line number and contact of each row that is not empty, or why the line is none."""
        while (found := self._record()) is not None:
            line, values = found
            if isinstance(values, Refusal):
                yield line, values
            elif any(each.strip() for each in values):
                yield line, self._row(values)

    def _row(self, values: list[str]) -> ContactRow | Refusal:
        if any(each.strip() for each in values[self.columns.count :]):
            return Refusal(
                value=self._delimiter.join(values)[:80],
                why=f"has {len(values)} values for {self.columns.count} columns",
                mend=f'put a value that holds "{self._delimiter}" in quotation marks',
            )
        if SURROGATE.search("".join(values)):
            return Refusal(
                value=self._delimiter.join(values).encode("utf-8", "replace").decode()[:80],
                why="is not in UTF-8",
                mend='save the file as "CSV UTF-8"',
            )
        row = self.columns.row(values)
        if not row.primary:
            return Refusal(value=row.name.strip(), why="has no address", mend="write one, or leave the row out")
        return row

    # -- records ------------------------------------------------------------------------------------------------------

    def _record(self) -> tuple[int, list[str] | Refusal] | None:
        """The values of the next record and its first line; `None` at the end."""
        taken: list[str] = []
        line = self._line + 1
        try:
            values = next(csv.reader(self._lines(taken), delimiter=self._delimiter, strict=True), None)
        except (csv.Error, _TooLong) as error:
            # What followed the first line may be sound by itself: it is read again.
            self._waiting = taken[1:] + self._waiting
            self._line = line
            long = len(taken[0]) >= MAX_LINE
            return line, Refusal(
                value=taken[0].strip().encode("utf-8", "replace").decode()[:80],
                why=f"is a line of more than {MAX_LINE} characters" if long else f"cannot be read as CSV: {error}",
                mend="see that the file is a list of contacts" if long else "close its quotation marks, or double them",
            )
        return None if values is None else (line, values)

    def _lines(self, taken: list[str]) -> Iterator[str]:
        while line := self._next_line():
            taken.append(line)
            self._line += 1
            if len(line) >= MAX_LINE or len(taken) > MAX_RECORD_LINES:
                raise _TooLong("a quotation mark is not closed")
            yield line

    def _next_line(self) -> str:
        if self._waiting:
            return self._waiting.pop(0)
        line = self._text.readline(MAX_LINE)
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (rest := self._text.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass  # the line is refused; what is left of it is nothing of its own
        return line

    # -- the header ---------------------------------------------------------------------------------------------------

    def _read_header(self, path: Path) -> tuple[Columns, list[str]]:
        if self._file.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DirectoryError(f'{path}: is in UTF-16; save it as "CSV UTF-8"')
        line = self._line_with_text()
        named = SEPARATOR_LINE.fullmatch(line.strip())
        if named:
            self._line += 1
            line = self._line_with_text()
        self._delimiter = named[1] if named else max(",;\t", key=QUOTED.sub("", line).count)
        self._waiting.insert(0, line)
        found = self._record()
        if not line or found is None or isinstance(found[1], Refusal):
            raise DirectoryError(f"{path}: the first line names no columns; begin the file with: email,name,owner")
        return _columns(path, found[1])

    def _line_with_text(self) -> str:
        while (line := self._next_line()) and not line.strip():
            self._line += 1
        return line


async def import_contacts(
    directory: Directory,
    home: PortalRecord,
    file: ContactFile,
    counts: Counts,
    *,
    on_refused: Callable[[Refused], None],
    on_progress: Callable[[int], None],
) -> None:
    """Imports all rows and counts them in `counts`, which is right for what was done whenever this ends.

    Raises `StoreUnavailable`; what was counted stays.
    """
    owners = Owners(home, await directory.users(home.name))
    batch: list[tuple[int, ContactRow | Refusal]] = []
    for numbered in file.rows():
        batch.append(numbered)
        if len(batch) == BATCH_ROWS:
            await _import_batch(directory, home, owners, batch, counts, on_refused)
            on_progress(file.position())
            batch = []
    await _import_batch(directory, home, owners, batch, counts, on_refused)
    on_progress(file.position())


async def _import_batch(
    directory: Directory,
    home: PortalRecord,
    owners: Owners,
    batch: list[tuple[int, ContactRow | Refusal]],
    counts: Counts,
    on_refused: Callable[[Refused], None],
) -> None:
    rows = [row for _, row in batch if isinstance(row, ContactRow)]
    fates = iter(await add_contacts(directory, home, owners, rows) if rows else ())
    for line, row in batch:
        fate = row if isinstance(row, Refusal) else next(fates)
        if isinstance(fate, Refusal):
            counts.refused += 1
            on_refused(Refused(line=line, refusal=fate))
        elif fate is Fate.ADDED:
            counts.added += 1
        else:
            counts.present += 1


def _columns(path: Path, names: list[str]) -> tuple[Columns, list[str]]:
    """The columns by their names, and the names that say nothing to us. Raises `DirectoryError`."""
    places: dict[str, int] = {}
    others: list[int] = []
    ignored: list[str] = []
    kinds = {"primary": PRIMARY, "name": NAME, "first_name": FIRST_NAME, "last_name": LAST_NAME, "owner": OWNER}
    for place, name in enumerate(names):
        key = "".join(each for each in name.casefold() if each.isalnum())
        kind = next((kind for kind, known in kinds.items() if key in known), None)
        if key in OTHERS or OTHER_NUMBERED.fullmatch(key) or (kind == "primary" and kind in places):
            others.append(place)
        elif kind is not None and kind not in places:
            places[kind] = place
        elif key:
            ignored.append(name.strip())
    if "primary" not in places:
        shown = ", ".join(repr(name.strip()[:40]) for name in names[:10])
        raise DirectoryError(
            f'{path}: none of its columns is "email"; the first line has: {shown}. '
            'Name the columns there, such as: email,name,"other addresses",owner'
        )
    return (
        Columns(
            count=len(names),
            primary=places["primary"],
            others=tuple(others),
            name=places.get("name"),
            first_name=places.get("first_name"),
            last_name=places.get("last_name"),
            owner=places.get("owner"),
        ),
        ignored,
    )
