"""Settings of IMAP listeners and providers: what cannot work is refused with the key and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.settings import SettingsError, load
from proxy.imap.offer import UNLEARNED, common_offer
from proxy.route import ListenerKind, ProviderKind, provider_of_login

HEAD = 'hostname = "relay.example"\n[tls]\ncertificates = [{ certificate = "a.pem", key = "a.key" }]\n'
SMTP = '[[provider]]\nname = "smtp"\nhost = "smtp.example"\ndomains = ["acme.example"]\n'
IMAP = '[[provider]]\nname = "imap"\nkind = "imap"\nhost = "imap.example"\nport = 993\ntls = "implicit"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "onrecord.toml"
    path.write_text(HEAD + text)
    return path


def test_one_domain_leads_to_a_server_of_each_kind(tmp_path: Path) -> None:
    text = (
        SMTP + IMAP + 'domains = ["acme.example"]\n[[listener]]\nport = 587\n[[listener]]\nkind = "imap"\nport = 143\n'
    )
    settings = load(written(tmp_path, text))
    assert [each.kind for each in settings.listener] == [ListenerKind.SUBMISSION, ListenerKind.IMAP]
    for kind, name in ((ProviderKind.SUBMISSION, "smtp"), (ProviderKind.IMAP, "imap")):
        of_kind = tuple(each for each in settings.provider if each.kind is kind)
        found = provider_of_login("ann@acme.example", of_kind)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (SMTP + '[[listener]]\nkind = "imap"\nport = 993\nprovider = "smtp"\n', "is of kind 'submission'"),
        (SMTP + '[[listener]]\nkind = "imap"\nport = 993\n', "no provider of kind 'imap' has domains"),
        (IMAP + 'domains = ["acme.example"]\n[[listener]]\nport = 587\n', "no provider of kind 'submission'"),
        (IMAP + '[[listener]]\nkind = "imap"\nport = 993\nprovider = "other"\n', "there is no such provider"),
        (IMAP + '[[provider]]\nname = "b"\nkind = "pop"\nhost = "b.example"\n', "kind = 'pop'"),
        (SMTP + SMTP.replace('"smtp"', '"two"'), "leads to provider 'smtp' already"),
    ],
)
def test_what_does_not_fit_together_is_told(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text))
    assert complaint in str(caught.value)


class TestWhatIsOfferedBeforeTheLogin:
    def test_is_what_every_provider_has(self) -> None:
        lists = [
            b"IMAP4rev1 SASL-IR LITERAL+ IDLE AUTH=PLAIN AUTH=XOAUTH2",
            b"IMAP4rev1 sasl-ir LITERAL- AUTH=PLAIN AUTH=LOGIN",
        ]
        assert common_offer(lists) == (b"IMAP4rev1", b"SASL-IR", b"AUTH=PLAIN", b"ID")

    def test_is_the_least_until_all_were_seen(self) -> None:
        assert common_offer([]) == UNLEARNED


def test_the_folder_for_the_log_has_a_name_unless_it_is_taken_away(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")).capture.log_folder == "Log to CRM"
    for name in ("", "Für die Akte", "Log v1.0"):
        assert load(written(tmp_path, f'[capture]\nlog_folder = "{name}"\n')).capture.log_folder == name


@pytest.mark.parametrize(
    "name", ["INBOX", " inbox ", "Sent", "Drafts", "Papierkorb", "Spam", "Trash/Log", "  ", "a\\nb", "x" * 256]
)
def test_a_folder_in_which_mail_lies_anyway_is_not_for_the_log(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"capture\.log_folder"):
        load(written(tmp_path, f'[capture]\nlog_folder = "{name}"\n'))
