"""Settings of notices and retention: off unless set, and refused with key, value and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.settings import SettingsError, load


def settings(folder: Path, text: str) -> Path:
    path = folder / "onrecord.toml"
    path.write_text(text)
    return path


def test_nothing_is_sent_and_nothing_removed_unless_it_is_set(tmp_path: Path) -> None:
    loaded = load(settings(tmp_path, ""))
    assert loaded.notices.host is None
    assert loaded.recorder.keep_emails_days is None


def test_files_are_found_from_the_data_folder_and_the_password_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("s3cret\n")
    text = '[notices]\nhost = "smtp.acme.example"\nusername = "log"\npassword_file = "p"\nsender = "log@acme.example"\n'
    loaded = load(settings(tmp_path, text))
    assert loaded.notices.password_file == tmp_path / "p"
    assert loaded.notice_password().reveal() == b"s3cret"
    assert "s3cret" not in repr(loaded) + repr(loaded.notice_password())


def test_a_password_file_that_is_missing_is_refused_by_its_key(tmp_path: Path) -> None:
    text = '[notices]\nhost = "smtp.acme.example"\nusername = "log"\npassword_file = "p"\nsender = "log@acme.example"\n'
    with pytest.raises(SettingsError, match=r"notices\.password_file"):
        load(settings(tmp_path, text)).notice_password()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[notices]\nhost = "smtp.acme.example"\n', "notices.sender = ''"),
        ('[notices]\nhost = "h"\nsender = "a@b.example"\ntls = "none"\n', "notices.tls = 'none'"),
        ('[notices]\nhost = "h"\nsender = "a@b.example"\nport = 0\n', "notices.port = 0"),
        ('[notices]\nhost = "h"\nsender = "a@b.example"\nusername = "a"\n', "notices.password_file"),
        ('[notices]\nhots = "h"\n', "did you mean 'host'"),
        ("[recorder]\nkeep_emails_days = 0\n", "recorder.keep_emails_days = 0"),
        ("[recorder]\nkeep_skipped_days = -1\n", "recorder.keep_skipped_days = -1"),
    ],
)
def test_a_refusal_names_key_value_and_mend(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(settings(tmp_path, text))
    assert complaint in str(refused.value)
