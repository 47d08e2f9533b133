"""`onrecord init`: all of it, or one line that says why not and nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.cli import run


def init(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit status, output and complaint."""
    status = 0
    try:
        run(["init", str(folder)])
    except SystemExit as error:
        status = int(error.code or 0)
    out, error_text = capsys.readouterr()
    return status, out, error_text


def test_it_makes_settings_keys_and_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, error = init(tmp_path / "new", capsys)
    assert (status, error) == (0, "")
    for name in ("onrecord.toml", "keys/hash.key", "certs/ca.pem", "certs/server.pem", "onrecord.sqlite"):
        assert (tmp_path / "new" / name).is_file()
        assert str(tmp_path / "new" / name) in out


def test_a_key_of_another_authority_is_kept_and_named_and_init_can_be_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "keys" / "ca.key"
    key.parent.mkdir()
    key.write_text("precious")
    status, out, error = init(tmp_path, capsys)
    assert (status, out) == (1, "")
    assert error.count("\n") == 1
    assert f"{key}: is there already" in error
    assert key.read_text() == "precious"
    key.unlink()
    assert init(tmp_path, capsys)[0] == 0


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "certs").write_text("a file where a folder should be")
    status, out, error = init(tmp_path, capsys)
    assert (status, out) == (1, "")
    assert error.count("\n") == 1
    assert str(tmp_path / "certs") in error
    assert not (tmp_path / "onrecord.toml").exists()
