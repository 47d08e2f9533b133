"""docs/commands.md names every command with its options and no others, and its examples run as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from log_writer import message

from onrecord.cli import app

DOCUMENT = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
HEADING = re.compile(r"^### `onrecord ([^`]+)`$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
EVERYWHERE = {"--help", "--config", "--as"}


def commands(command: Any, *names: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from commands(each, *names, name)
    else:
        yield " ".join(names), command


def sections() -> dict[str, str]:
    """The text under each command's heading."""
    places = [*HEADING.finditer(DOCUMENT)]
    found = {}
    for match in places:
        end = re.compile(r"^##", re.MULTILINE).search(DOCUMENT, match.end())
        found[match[1]] = DOCUMENT[match.end() : end.start() if end else None]
    return found


PROGRAM = dict(commands(typer.main.get_command(app)))
WRITTEN = sections()
EXAMPLES = [line for text in WRITTEN.values() for line in re.findall(r"```console\n(.*?)```", text, re.DOTALL)]


def test_every_command_is_described_and_no_other() -> None:
    assert set(WRITTEN) == set(PROGRAM)
    assert len(HEADING.findall(DOCUMENT)) == len(WRITTEN)


@pytest.mark.parametrize("name", sorted(PROGRAM))
def test_a_command_is_described_with_its_options_and_no_others(name: str) -> None:
    options = {
        option for each in PROGRAM[name].params for option in (*each.opts, *each.secondary_opts) if option[:2] == "--"
    }
    text = WRITTEN[name]
    named = set(OPTION.findall(text)) - EVERYWHERE
    # A switch that is turned off by "--no-" is described once.
    required = {each for each in options if not each.startswith("--no-")} - EVERYWHERE
    elsewhere = {
        option for line in re.findall(r"`onrecord [^`]+`|`show --raw`", text) for option in OPTION.findall(line)
    }
    assert required <= named, f"not described: {sorted(required - named)}"
    assert named - options - elsewhere - {"--no-"} == set(), f"no options of {name}"


@pytest.mark.parametrize("name", sorted(PROGRAM))
def test_every_command_has_an_example(name: str) -> None:
    assert re.search(rf"^(?:\$ )?onrecord .*{re.escape(name.split()[-1])}", WRITTEN[name], re.MULTILINE)


def test_the_examples_run_one_after_the_other_and_print_what_they_show(sample: Any) -> None:
    async def work(directory: Any, writer: Any) -> None:
        await writer.passes(message())
        await writer.passes(
            message(to="kim@cust.example, lee@cust.example", message_id="<2@acme.example>", subject="Second")
        )
        await writer.passes(message(to="x@stranger.example", message_id="<3@acme.example>", subject="Third"))

    sample.work(work)
    assert len(EXAMPLES) > 30
    for example in EXAMPLES:
        line, _, shown = example.partition("\n")
        outcome = sample.done(*shlex.split(line.removeprefix("$ onrecord ")))
        if shown:
            pattern = re.escape(shown).replace(r"\.\.\.", ".*")
            assert re.fullmatch(pattern, outcome.text), (line, outcome.text)
