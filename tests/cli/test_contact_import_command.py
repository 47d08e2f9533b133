"""`onrecord contact import`: files as people have them, good and bad."""

from __future__ import annotations

import csv
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest


def write(installation: Any, content: str | bytes, name: str = "people.csv") -> str:
    path = installation.folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def imported(installation: Any, content: str | bytes, *words: str) -> tuple[tuple[int, int, int], str]:
    """Counts (imported, already there, refused) and what was complained of. The exit status must be 0."""
    outcome = installation.done("contact", "import", write(installation, content), "--json", *words)
    counts = outcome.json
    return (counts["imported"], counts["already_there"], counts["refused"]), outcome.error


def contacts(installation: Any) -> dict[str, dict[str, Any]]:
    listed = installation.done("contact", "list", "--json").json
    return {each["primary"]: each for each in listed}


HEADERS = {
    "plain": ("email,name,other addresses,owner", ","),
    "another case": ("E-MAIL;NAME;Other Addresses;OWNER", ";"),
    "primary": ("Primary,Name,Other address,Contact Owner", ","),
    "with a byte order mark": ("\ufeffemail;name;others;owner", ";"),
    "quoted with a byte order mark": ('\ufeff"Email","Name","Additional email addresses","Owner"', ","),
    "with tabs": ("email\tname\tother emails\towner", "\t"),
    "with the separator named": ("sep=|\nemail|name|others|owner", "|"),
    "with the separator named behind a byte order mark": ("\ufeffSEP=;\r\n\r\nemail;name;others;owner", ";"),
    "a comma in a quoted name": ('email;name;"other emails";owner;"a,b,c,d,e"', ";"),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_columns_are_found_by_name_and_separator(sample: Any, kind: str, line_end: str) -> None:
    header, separator = HEADERS[kind]
    row = separator.join(["zoe@cust.example", "Zoë Ω", '"zoe@home.example z@work.example"', "ann@acme.example"])
    counts, error = imported(sample, header + line_end + row + line_end)
    assert counts == (1, 0, 0), error
    added = contacts(sample)["zoe@cust.example"]
    assert added["name"] == "Zoë Ω"
    assert added["addresses"] == ["zoe@cust.example", "z@work.example", "zoe@home.example"]
    assert added["owner"] == "ann@acme.example"


def test_first_and_last_name_become_the_name_and_other_columns_are_passed_over(sample: Any) -> None:
    content = (
        "Phone,First Name,Last Name,E-mail 1 - Value,E-mail 2 - Value\n1,Zoe,Young,zoe@cust.example,z@home.example\n"
    )
    counts, error = imported(sample, content)
    assert counts == (1, 0, 0)
    assert "columns passed over: Phone" in error
    added = contacts(sample)["zoe@cust.example"]
    assert added["name"] == "Zoe Young"
    assert added["addresses"] == ["zoe@cust.example", "z@home.example"]


def test_the_owner_may_be_any_address_or_the_only_user_of_a_name(sample: Any) -> None:
    content = "email,owner\na@cust.example,Sales@acme.example\nb@cust.example,bob\nc@cust.example,\n"
    assert imported(sample, content)[0] == (3, 0, 0)
    found = contacts(sample)
    assert found["a@cust.example"]["owner"] == "ann@acme.example"
    assert found["b@cust.example"]["owner"] == "bob@acme.example"
    assert found["c@cust.example"]["owner"] is None


def test_values_may_hold_separators_quotation_marks_and_line_ends(sample: Any) -> None:
    content = 'email,name\nzoe@cust.example,"Young, ""Zoe""\nof Cust"\nyan@cust.example,Yan\n'
    assert imported(sample, content)[0] == (2, 0, 0)
    assert contacts(sample)["zoe@cust.example"]["name"] == 'Young, "Zoe" of Cust'


def test_a_last_line_without_line_end_and_empty_lines_are_no_trouble(sample: Any) -> None:
    counts, error = imported(sample, "\n\nemail,name\n\n,\nzoe@cust.example,Zoe\n   \nyan@cust.example,Yan")
    assert counts == (2, 0, 0), error


def test_a_file_of_only_a_header_imports_nothing(sample: Any) -> None:
    assert imported(sample, "email,name\n")[0] == (0, 0, 0)


REFUSED = {
    "no address": ("no address,Zoe,", "'no address' is no e-mail address"),
    "a name beside the address": ("Zoe <zoe@cust.example>,Zoe,", "without a name beside it"),
    "an empty address": (",Zoe,", "'Zoe' has no address; write one, or leave the row out"),
    "an unknown owner": ("zoe@cust.example,Zoe,nobody@acme.example", "'nobody@acme.example' is no user of the portal"),
    "too many values": ("zoe@cust.example,Young,Zoe,ann@acme.example", "has 4 values for 3 columns"),
    "an address of another": (
        "kim.k@gmail.com,Zoe,",
        "'kim.k@gmail.com' belongs to the contact kim@cust.example already",
    ),
    "an equal address of another": ("k.i.m.k@googlemail.com,Zoe,", "belongs to the contact kim@cust.example already"),
    "another name for a contact": (
        "kim@cust.example,Kimberley,",
        "differs from the name of the contact kim@cust.example",
    ),
    "another owner for a contact": ("kim@cust.example,,bob@acme.example", "is not the owner of the contact"),
    "control characters in a name": ("zoe@cust.example,Z\x1boe,", "control characters"),
    "a name too long": (f"zoe@cust.example,{'z' * 201},", "201 characters"),
    "a quotation mark in the middle": ('zoe@cust.example,"Zoe"x,', "cannot be read as CSV"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refused_line_is_reported_with_its_number_and_the_rest_imported(sample: Any, kind: str) -> None:
    row, complaint = REFUSED[kind]
    before = contacts(sample)
    counts, error = imported(sample, f"email,name,owner\nyan@cust.example,Yan,\n{row}\nxia@cust.example,Xia,\n")
    assert counts == (2, 0, 1), error
    assert error.startswith("line 3: ")
    assert complaint in error
    assert "\x1b" not in error
    after = contacts(sample)
    assert after.keys() == before.keys() | {"yan@cust.example", "xia@cust.example"}
    assert {key: after[key] for key in before} == before


def test_a_line_that_is_not_utf_8_is_refused_alone(sample: Any) -> None:
    counts, error = imported(sample, b"email,name\nzoe@cust.example,Zo\xeb\nyan@cust.example,Yan\n")
    assert counts == (1, 0, 1)
    assert "line 2: 'zoe@cust.example,Zo?' is not in UTF-8; save the file as \"CSV UTF-8\"" in error


def test_a_quotation_mark_that_is_never_closed_costs_its_own_line(sample: Any) -> None:
    rows = "".join(f"c{number}@cust.example,Name {number}\n" for number in range(200))
    counts, error = imported(sample, f'email,name\nzoe@cust.example,"Zoe\n{rows}')
    assert counts == (200, 0, 1)
    assert "line 2: 'zoe@cust.example,\"Zoe' cannot be read as CSV" in error
    assert "close its quotation marks" in error


def test_a_line_without_end_costs_itself_only(sample: Any) -> None:
    counts, error = imported(sample, f"email,name\nzoe@cust.example,{'z' * 300_000}\nyan@cust.example,Yan\n")
    assert counts == (1, 0, 1)
    assert "line 2: " in error
    assert "more than 65536 characters" in error


def test_a_contact_named_twice_in_the_file_is_there_already_the_second_time(sample: Any) -> None:
    content = "email,name,others\nzoe@cust.example,Zoe,z@home.example\nZOE@cust.example,Zoe,\nz@home.example,,\n"
    counts, error = imported(sample, content)
    assert counts == (1, 1, 1)
    assert "line 4: 'z@home.example' belongs to the contact zoe@cust.example already" in error


def test_importing_a_file_again_finds_everything_there(sample: Any) -> None:
    content = "email,name,others,owner\n" + "".join(
        f"c{number}@cust.example,Name {number},o{number}@home.example,bob@acme.example\n" for number in range(2500)
    )
    assert imported(sample, content)[0] == (2500, 0, 0)
    before = contacts(sample)
    assert imported(sample, content)[0] == (0, 2500, 0)
    assert contacts(sample) == before


def test_people_get_a_sentence(sample: Any) -> None:
    path = write(sample, "email\nzoe@cust.example\nkim@cust.example\nx\n")
    assert "1 imported, 1 already there, 1 refused" in sample.done("contact", "import", path).text


def test_the_report_file_has_every_refused_line(sample: Any) -> None:
    report = sample.folder / "report.csv"
    rows = "".join(f"wrong {number}\n" for number in range(100))
    counts, error = imported(sample, f"email\n{rows}zoe@cust.example\n", "--report", str(report))
    assert counts == (1, 0, 100)
    with report.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(each["line"]) for each in lines] == list(range(2, 102))
    assert lines[7]["value"] == "wrong 7"
    assert all(each["why"] and each["mend"] for each in lines)
    assert error.count("\nline ") < 25
    assert str(report) in error


FILES = {
    "that is not there": (None, "cannot be read (No such file or directory); name a CSV file"),
    "that is empty": (b"", "names no columns; begin the file with: email,name,owner"),
    "without an address column": (
        b"name,phone\nZoe,1\n",
        "none of its columns is \"email\"; the first line has: 'name', 'phone'",
    ),
    "without a header": (b"zoe@cust.example,Zoe\n", 'none of its columns is "email"'),
    "in UTF-16": ("email,name\nzoe@cust.example,Zoe\n".encode("utf-16"), 'is in UTF-16; save it as "CSV UTF-8"'),
    "that is no text": (bytes(range(128, 256)) + b"\0", "people.csv: "),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_cannot_be_used_is_refused_whole(sample: Any, kind: str) -> None:
    content, complaint = FILES[kind]
    path = write(sample, content) if content is not None else str(sample.folder / "nowhere.csv")
    assert complaint in sample.refused("contact", "import", path)
    assert len(contacts(sample)) == 5


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_imported(sample: Any) -> None:
    path = write(sample, "email\nzoe@cust.example\n")
    complaint = sample.refused("contact", "import", path, "--report", str(sample.folder / "no" / "report.csv"))
    assert "cannot be written (No such file or directory); name another file" in complaint
    assert len(contacts(sample)) == 5


def test_a_report_over_the_file_itself_is_refused_and_the_file_stays(sample: Any) -> None:
    path = Path(write(sample, "email\nzoe@cust.example\n"))
    link = sample.folder / "link.csv"
    link.symlink_to(path)
    for report in (path, link):
        complaint = sample.refused("contact", "import", str(path), "--report", str(report))
        assert "is the file to be imported; name another file" in complaint
    assert path.read_text() == "email\nzoe@cust.example\n"


def test_a_locked_store_ends_the_import_with_what_was_done(sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.database.LOCK_TIMEOUT", 0.1)
    path = write(sample, "email\nzoe@cust.example\n")
    holder = sqlite3.connect(sample.folder / "onrecord.sqlite", isolation_level=None)
    holder.execute("begin immediate")
    outcome = sample.run("contact", "import", path)
    holder.close()
    assert outcome.status == 1
    assert "0 imported, 0 already there, 0 refused" in outcome.text
    assert "the database does not answer" in outcome.error
    assert sample.done("contact", "import", path, "--json").json["imported"] == 1


def test_a_pipe_is_imported_too(sample: Any) -> None:
    pipe = sample.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text("email;name\nzoe@cust.example;Zoe\n"))
    writer.start()
    assert sample.done("contact", "import", str(pipe), "--json").json["imported"] == 1
    writer.join()


MEASURED = """
import resource, sys
from onrecord.cli import run
try:
    run(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.soak
def test_a_million_lines_take_no_more_memory_than_ten_thousand(sample: Any) -> None:
    peaks = []
    for count in (10_000, 1_000_000):
        path = sample.folder / f"{count}.csv"
        with path.open("w") as file:
            file.write("email,name\n")
            file.writelines(f"p{number}@firm{number % 5000}-{count}.example,Name\n" for number in range(count))
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "-c", str(sample.config), "contact", "import", str(path)],
            capture_output=True,
            cwd=Path(__file__).parents[2],
            check=True,
        )
        lines = done.stdout.decode().split("\n")
        assert f"{count} imported, 0 already there, 0 refused" in lines[0]
        peaks.append(int(lines[1]))
    assert peaks[1] < peaks[0] + 64 * 1024
