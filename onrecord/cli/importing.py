"""`contact import` as people see it: progress, each refused line, and what came of it."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from onrecord.cli.opening import Opened
from onrecord.cli.showing import print_json
from onrecord.contact_import import ContactFile, Counts, Refused, import_contacts
from onrecord.written import visible
from store.directory import DirectoryError

__all__ = ["import_file"]

SHOWN = 20  # refused lines on the terminal where a report file has them all

OnRefused = Callable[[Refused], None]


async def import_file(opened: Opened, path: Path, *, portal: str | None, report: Path | None, as_json: bool) -> None:
    """Imports `path` and says how it went, also when it breaks off. Raises `DirectoryError` or `StoreUnavailable`."""
    home = await opened.directory.portal(portal)
    counts = Counts()
    with ContactFile(path) as file, _progress(file.size) as progress, _reporting(report, path) as write:
        task = progress.add_task(visible(path.name), total=file.size)

        def say(text: str) -> None:
            progress.console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

        def on_refused(refused: Refused) -> None:
            write(refused)
            if report is None or counts.refused <= SHOWN:
                say(_sentence(refused))

        def on_progress(position: int) -> None:
            progress.update(task, completed=position)

        if file.ignored:
            say("columns passed over: " + ", ".join(visible(each) for each in file.ignored))
        try:
            await import_contacts(opened.directory, home, file, counts, on_refused=on_refused, on_progress=on_progress)
        finally:
            progress.stop()
            _summarise(counts, report, as_json)


def _summarise(counts: Counts, report: Path | None, as_json: bool) -> None:
    if as_json:
        print_json({"imported": counts.added, "already_there": counts.present, "refused": counts.refused})
    else:
        typer.echo(f"{counts.added} imported, {counts.present} already there, {counts.refused} refused")
    if report is not None and counts.refused > SHOWN:
        typer.echo(f"all refused lines are in {report}", err=True)


def _sentence(refused: Refused) -> str:
    refusal = refused.refusal
    return visible(f"line {refused.line}: {refusal.value!r} {refusal.why}; {refusal.mend}")


def _progress(size: int | None) -> Progress:
    """A bar on standard error, where that is a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, emoji=False),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


@contextmanager
def _reporting(path: Path | None, imported: Path) -> Iterator[OnRefused]:
    """What writes refused lines to the report file."""
    if path is None:
        yield lambda refused: None
        return
    if path.exists() and path.samefile(imported):
        raise DirectoryError(f"--report {path}: is the file to be imported; name another file")
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise DirectoryError(f"--report {path}: cannot be written ({error.strerror}); name another file") from error
    with file:
        rows = csv.writer(file)
        rows.writerow(("line", "value", "why", "mend"))

        def write(refused: Refused) -> None:
            refusal = refused.refusal
            rows.writerow((refused.line, refusal.value, refusal.why, refusal.mend))

        yield write
