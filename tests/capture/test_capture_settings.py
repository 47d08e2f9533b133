"""Settings of capture listeners and of DNS: what cannot work is refused with the key and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from onrecord.settings import SettingsError, load
from proxy.route import ListenerKind, Tls

HEAD = 'hostname = "relay.example"\n[tls]\ncertificates = [{ certificate = "a.pem", key = "a.key" }]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "onrecord.toml"
    path.write_text(HEAD + text)
    return path


def test_a_capture_listener_needs_no_provider(tmp_path: Path) -> None:
    settings = load(written(tmp_path, '[[listener]]\nkind = "capture"\naddress = "0.0.0.0"\nport = 25\n'))
    (listener,) = settings.listener
    assert (listener.kind, listener.tls, listener.provider) == (ListenerKind.CAPTURE, Tls.STARTTLS, None)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('provider = "main"', "a capture listener relays nothing"),
        ("known_users_only = true", "nobody logs in on a capture listener"),
        ('tls = "implicit"', "needs 'starttls'"),
        ('tls = "none"', "only on a loopback address"),
        ('kind = "kapture"', "kind = 'kapture'"),
    ],
)
def test_what_a_capture_listener_cannot_be_is_told(tmp_path: Path, line: str, complaint: str) -> None:
    kind = "" if line.startswith("kind") else 'kind = "capture"\n'
    text = f'[[listener]]\naddress = "0.0.0.0"\nport = 25\n{kind}{line}\n'
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, text))
    assert complaint in str(caught.value)


@pytest.mark.parametrize("servers", [[], ["192.0.2.1"], ["192.0.2.1:5353", "2001:db8::1"]])
def test_nameservers_are_addresses_with_or_without_port(tmp_path: Path, servers: list[str]) -> None:
    assert load(written(tmp_path, f"[dns]\nnameservers = {servers}\n")).dns.nameservers == tuple(servers)


@pytest.mark.parametrize("server", ["dns.example", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:70000", "[::1]:53", ""])
def test_what_is_no_nameserver_is_told(tmp_path: Path, server: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, f"[dns]\nnameservers = ['{server}']\n"))
    assert "dns.nameservers" in str(caught.value)
    assert repr(server) in str(caught.value)
