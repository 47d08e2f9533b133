"""Where the sealing keys come from, and what is said when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.installing import install, make_keys
from onrecord.settings import load
from store.key_ring import KeyRing
from store.sealing import SealingError, SealingKey

FIRST, SECOND = SealingKey.make(), SealingKey.make()


def ids(ring: KeyRing) -> list[bytes]:
    return [each.id for each in ring.read()]


def test_a_file_is_written_for_its_owner_alone_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "sealing.key"
    ring = KeyRing(path, {})
    assert not ring.exists
    ring.write([FIRST, SECOND])
    assert ring.exists
    assert ids(ring) == [FIRST.id, SECOND.id]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    ring.write([SECOND])
    assert ids(ring) == [SECOND.id]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["sealing.key"]


def test_a_write_that_was_broken_off_hinders_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "sealing.key"
    (tmp_path / "sealing.key.new").write_text("half a k")
    KeyRing(path, {}).write([FIRST])
    assert ids(KeyRing(path, {})) == [FIRST.id]


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "sealing.key", {})
    ring.write([FIRST])
    assert ids(ring) == [FIRST.id]
    KeyRing(tmp_path / "sealing.key", {}).write([SECOND, FIRST])
    assert ids(ring) == [SECOND.id, FIRST.id]


def test_the_variable_counts_before_credential_and_file(tmp_path: Path) -> None:
    file, credentials = tmp_path / "sealing.key", tmp_path / "credentials"
    credentials.mkdir()
    KeyRing(file, {}).write([FIRST])
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert ids(KeyRing(file, environment)) == [FIRST.id]  # systemd hands over other credentials only
    assert KeyRing(file, environment).is_ours
    (credentials / "onrecord.sealing").write_text(SECOND.text())
    ring = KeyRing(file, environment)
    assert ids(ring) == [SECOND.id]
    assert not ring.is_ours
    environment["ONRECORD_SEALING_KEY"] = f"{FIRST.text()} {SECOND.text()}"
    ring = KeyRing(file, environment)
    assert ids(ring) == [FIRST.id, SECOND.id]
    assert not ring.is_ours
    assert ring.source == "ONRECORD_SEALING_KEY"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "onrecord mailbox rekey"),
        (b"", "holds no sealing key; restore it from a backup"),
        (b"0011\n", "64 hexadecimal digits"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_keys_that_cannot_be_used_are_told_with_source_and_mend(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "sealing.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SealingError, match=complaint) as caught:
        KeyRing(path, {}).read()
    assert str(path) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(SealingError, match="cannot be written"):
        KeyRing(tmp_path / "keys" / "sealing.key", {}).write([FIRST])


def test_the_variable_is_no_setting_and_hinders_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "onrecord.toml"
    config.write_text("")
    monkeypatch.setenv("ONRECORD_SEALING_KEY", FIRST.text())
    settings = load(config)
    assert ids(settings.key_ring()) == [FIRST.id]
    assert FIRST.text() not in repr(settings)


def test_an_installation_comes_with_a_key_and_a_key_that_is_there_stays(tmp_path: Path) -> None:
    folder = tmp_path / "installed"
    told = dict(install(folder, hostname="localhost"))
    path = folder / "keys" / "sealing.key"
    assert "keep a copy" in told[path]
    assert path.stat().st_mode & 0o777 == 0o600
    settings = load(folder / "onrecord.toml")
    before = ids(settings.key_ring())
    assert len(before) == 1
    assert path not in dict(make_keys(settings))
    assert ids(settings.key_ring()) == before
