"""The tables `[oauth.NAME]` of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.installing import template
from onrecord.oauth.issuer import KNOWN, is_safe_endpoint
from onrecord.settings import Settings, SettingsError, load


def settings(folder: Path, text: str) -> Settings:
    path = folder / "onrecord.toml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_of_a_known_issuer_only_the_client_is_to_be_named(tmp_path: Path, name: str) -> None:
    issuer = settings(tmp_path, f'[oauth.{name}]\nclient_id = "me"\n').oauth[name]
    assert issuer == KNOWN[name].model_copy(update={"client_id": "me"})
    assert all(
        is_safe_endpoint(each)
        for each in (issuer.authorization_endpoint, issuer.token_endpoint, issuer.device_endpoint)
    )


def test_consents_are_revoked_where_that_is_known_or_named(tmp_path: Path) -> None:
    both = settings(tmp_path, '[oauth.google]\nclient_id = "me"\n[oauth.microsoft]\nclient_id = "me"\n').oauth
    assert is_safe_endpoint(both["google"].revocation_endpoint)
    assert both["microsoft"].revocation_endpoint == ""
    never = settings(tmp_path, '[oauth.google]\nclient_id = "me"\nrevocation_endpoint = ""\n').oauth
    assert never["google"].revocation_endpoint == ""


def test_what_is_named_stands_over_the_table(tmp_path: Path) -> None:
    text = '[oauth.google]\nclient_id = "me"\ntoken_endpoint = "http://127.0.0.1:8080/token"\nextra = {}\n'
    issuer = settings(tmp_path, text).oauth["google"]
    assert issuer.token_endpoint == "http://127.0.0.1:8080/token"
    assert issuer.extra == {}
    assert issuer.scopes == KNOWN["google"].scopes


def test_the_environment_stands_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONRECORD_OAUTH__GOOGLE__CLIENT_ID", "other")
    issuer = settings(tmp_path, '[oauth.google]\nclient_id = "me"\nredirect_host = "localhost"\n').oauth["google"]
    assert (issuer.client_id, issuer.redirect_host) == ("other", "localhost")
    assert issuer.token_endpoint == KNOWN["google"].token_endpoint


def test_the_client_secret_is_read_from_a_file_beside_the_data(tmp_path: Path) -> None:
    loaded = settings(tmp_path, '[oauth.google]\nclient_id = "me"\nclient_secret_file = "google.secret"\n')
    with pytest.raises(SettingsError, match=r"oauth\.google\.client_secret_file = .*write the client secret there"):
        loaded.client_secret("google")
    (tmp_path / "google.secret").write_text("hush\n")
    secret = loaded.client_secret("google")
    assert secret is not None
    assert secret.reveal() == b"hush"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[oauth.google]\n", "oauth.google.client_id = ''"),
        ('[oauth.google]\nclient_id = "x"\nclient_idd = "y"\n', "did you mean 'client_id'"),
        ('[oauth.google]\nclient_id = "x"\ntoken_endpoint = "http://example.com/"\n', "begins with https://"),
        ('[oauth.google]\nclient_id = "x"\nredirect_host = "example.com"\n', "oauth.google.redirect_host"),
        (
            '[oauth.google]\nclient_id = "x"\nrevocation_endpoint = "http://example.com/"\n',
            "revocation_endpoint = 'http",
        ),
        ('[oauth.own]\nclient_id = "x"\n', "oauth.own.token_endpoint = ''"),
        ('[oauth.own]\nclient_id = "x"\n', "oauth.own.scopes: is empty"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        settings(tmp_path, text)


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://example.com/token", True),
        ("http://127.0.0.1:1/token", True),
        ("http://[::1]:1/token", True),
        ("http://localhost/token", True),
        ("http://localhost.example.com/token", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://192.0.2.1/", False),
        ("https://user@example.com/", False),
        ("https://example.com/#part", False),
        ("https://example.com:port/", False),
        ("file:///etc/passwd", False),
        ("ftp://example.com/", False),
        ("https:///token", False),
        ("", False),
    ],
)
def test_secrets_go_over_tls_or_to_loopback_only(url: str, is_safe: bool) -> None:
    assert is_safe_endpoint(url) is is_safe


def test_what_the_template_shows_of_google_is_its_default(tmp_path: Path) -> None:
    start = template().index("# [oauth.google]")
    shown = template()[start : template().index("# [oauth.microsoft]")]
    text = "\n".join(line.removeprefix("# ") for line in shown.splitlines())
    issuer = settings(tmp_path, text).oauth["google"]
    given = {"client_id", "client_secret_file", "ca_file"}
    assert issuer.model_dump(exclude=given) == KNOWN["google"].model_dump(exclude=given)
