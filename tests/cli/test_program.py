"""The program `onrecord` as a process: where its settings come from, and how troubles end."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from store.contact_rows import insert_contact

COMMANDS = [
    ["portal"],
    ["portal", "show"],
    ["rule", "show"],
    ["user", "list"],
    ["contact", "list"],
    ["never-log", "list"],
    ["emails"],
    ["decisions"],
]


@pytest.mark.parametrize("place", ["before", "behind", "long", "joined", "environment"])
def test_settings_are_named_anywhere_on_the_line_or_in_the_environment(sample: Any, place: str) -> None:
    config = str(sample.config)
    lines = {
        "before": ["-c", config, "rule", "show", "--json"],
        "behind": ["rule", "show", "--json", "-c", config],
        "long": ["rule", "--config", config, "show", "--json"],
        "joined": ["rule", "show", f"--config={config}", "--json"],
        "environment": ["rule", "show", "--json"],
    }
    environment = {"ONRECORD_CONFIG": config} if place == "environment" else {}
    done = sample.program(*lines[place], env=environment)
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["rule"] == "all"


@pytest.mark.parametrize("words", COMMANDS)
def test_without_settings_one_line_says_how_to_name_or_make_them(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onrecord.cli import run

    monkeypatch.delenv("ONRECORD_CONFIG", raising=False)
    with pytest.raises(SystemExit) as ended:
        run(words)
    assert ended.value.code == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "onrecord init DIR" in error


@pytest.mark.parametrize("words", COMMANDS)
def test_every_listing_and_show_gives_json(sample: Any, words: list[str]) -> None:
    assert sample.done(*words, "--json").json is not None


def test_a_missing_hash_key_is_one_line_that_names_the_key(sample: Any) -> None:
    (sample.folder / "hash.key").unlink()
    assert "hash_key_file = " in sample.refused("decisions", "--message-id", "a@b")


def test_a_locked_database_is_one_line_and_nothing_was_changed(sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.database.LOCK_TIMEOUT", 0.1)
    holder = sqlite3.connect(sample.folder / "onrecord.sqlite", isolation_level=None)
    holder.execute("begin immediate")
    complaint = sample.refused("contact", "add", "zoe@cust.example")
    assert "the database does not answer" in complaint
    assert len(sample.done("contact", "list", "--json").json) == 5
    holder.close()
    sample.done("contact", "add", "zoe@cust.example")


def test_a_file_that_is_no_database_is_one_line(sample: Any) -> None:
    for path in sample.folder.glob("onrecord.sqlite*"):
        path.unlink()
    (sample.folder / "onrecord.sqlite").write_bytes(b"not a database" * 1000)
    assert "the database does not answer" in sample.refused("portal")


@pytest.mark.parametrize("words", [["contact", "lst"], ["contact", "list", "--jsn"], ["explain"], ["nothing"]])
def test_a_wrong_line_has_status_2(sample: Any, words: list[str]) -> None:
    assert words[-1] in sample.refused(*words, status=2) or "MESSAGE-ID" in sample.refused(*words, status=2)


def test_a_reader_that_goes_away_leaves_no_traceback(sample: Any) -> None:
    async def fill(directory: Any, _: Any) -> None:
        home = await directory.portal("P1")
        async with directory.change() as connection:
            for number in range(3000):
                await insert_contact(connection, home, f"c{number}@cust.example")

    sample.work(fill)
    line = [sys.executable, "-m", "onrecord", "-c", str(sample.config), "contact", "list", "--json"]
    with subprocess.Popen(
        line, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        error = process.stderr.read()
    assert b"Traceback" not in error, error


def test_help_names_every_command_and_what_import_returns(sample: Any) -> None:
    text = sample.done("--help").text
    for name in ("portal", "rule", "user", "contact", "never-log", "emails", "show", "decisions", "explain"):
        assert f" {name} " in text
    text = " ".join(sample.done("contact", "import", "--help").text.split())
    assert "The exit status is 0 when the file was read to its end, also when lines were refused" in text
