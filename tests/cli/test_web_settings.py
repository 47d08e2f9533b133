"""Settings of the pages: none unless they are set, and refused with key, value and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.settings import SettingsError, load


def settings(folder: Path, text: str) -> Path:
    path = folder / "onrecord.toml"
    path.write_text(text)
    return path


def test_there_are_no_pages_unless_they_are_set(tmp_path: Path) -> None:
    assert load(settings(tmp_path, "")).web is None


def test_browsers_reach_them_by_names_of_this_machine_or_by_that_of_the_proxy(tmp_path: Path) -> None:
    web = load(settings(tmp_path, "[web]\nport = 9000\n")).web
    assert web is not None
    assert web.origins == ("http://localhost:9000", "http://127.0.0.1:9000", "http://[::1]:9000")
    web = load(settings(tmp_path, '[web]\nurl = "https://log.acme.example/"\n')).web
    assert web is not None
    assert web.origins == ("https://log.acme.example",)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('address = "0.0.0.0"', "web.address = '0.0.0.0': only on a loopback address"),
        ("port = 0", "web.port = 0: is no port"),
        ("port = 65536", "web.port = 65536: is no port"),
        ('url = "http://log.acme.example"', "web.url = 'http://log.acme.example': write an address such as https://"),
        ('url = "https://log.acme.example/log"', "without a path"),
        ('prot = 1', "did you mean 'port'"),
    ],
)  # fmt: skip
def test_a_refusal_names_key_value_and_mend(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(settings(tmp_path, f"[web]\n{text}\n"))
    assert complaint in str(refused.value)
