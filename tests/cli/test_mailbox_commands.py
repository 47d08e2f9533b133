"""`onrecord mailbox`, with pymap as the provider's server."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from loop_thread import LoopThread
from served import free_port, to_toml

from onrecord.sandbox.mailboxes import Mailboxes
from store.sealing import SealingKey

PASSWORD = "correct horse battery"
ANN, BOB = "ann@acme.example", "bob@acme.example"


@dataclass
class Provider:
    """A running IMAP server: Ann and Bob log in with `PASSWORD`."""

    port: int
    loop: LoopThread
    server: asyncio.Server

    def stop(self) -> None:
        async def close() -> None:
            self.server.close()
            await self.server.wait_closed()

        self.loop.run(close())


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    async def start() -> asyncio.Server:
        mailboxes = Mailboxes(tmp_path / "mail", {ANN: ANN, BOB: BOB, "ann": ANN})
        await mailboxes.open(PASSWORD)
        return await asyncio.start_server(mailboxes.server(), "127.0.0.1", 0)

    with LoopThread() as loop:
        server = loop.run(start())
        running = Provider(server.sockets[0].getsockname()[1], loop, server)
        yield running
        if server.is_serving():
            running.stop()


@pytest.fixture
def connecting(sample: Any, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The installation with a provider of mailboxes and a sealing key; `say` is what standard input holds next."""
    configure(sample, provider.port)
    sample.done("mailbox", "rekey")
    sample.say = lambda octets: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(octets)))
    sample.say(PASSWORD.encode() + b"\n")
    return sample


def configure(sample: Any, port: int, **more: Any) -> None:
    table = {"kind": "imap", "host": "127.0.0.1", "port": port, "tls": "none"}
    providers = [{"name": "main", "domains": ["acme.example"], **table}, {"name": "other", **table}]
    sending = {"name": "sending", "host": "127.0.0.1", "port": 1, "tls": "none"}
    values = {"hash_key_file": "hash.key", "provider": [*providers, sending], **more}
    sample.config.write_text(to_toml(values))


def connect(sample: Any, *words: str, address: str = ANN) -> Any:
    return sample.done("mailbox", "connect", address, "--user", address, "--password-stdin", "--json", *words).json


class TestConnect:
    def test_a_mailbox_is_connected_after_its_login_has_worked(self, connecting: Any) -> None:
        value = connect(connecting)
        assert value == {
            "id": 1,
            "portal": "P1",
            "user": ANN,
            "address": ANN,
            "server": "main",
            "login": ANN,
            "mechanism": "PLAIN",
            "oauth": None,
            "state": "ok",
            "state_since": value["connected_at"],
            "trouble": None,
            "connected_at": value["connected_at"],
            "observer": None,
            "observer_since": None,
        }
        assert connecting.done("mailbox", "list", "--json").json == [value]

    def test_people_are_told_in_a_sentence(self, connecting: Any) -> None:
        told = connecting.done("mailbox", "connect", ANN, "--user", ANN, "--password-stdin").text
        assert told == "ann@acme.example is connected for ann@acme.example, at main by PLAIN\n"
        assert re.search(r"ann@acme\.example +ann@acme\.example +main +password +ok", connecting.done(
            "mailbox", "list"
        ).text)  # fmt: skip

    def test_its_address_becomes_a_connected_address_of_the_user(self, connecting: Any) -> None:
        value = connect(connecting, "--provider", "other", "--login", "ann", "--user", "sales@acme.example",
                        address="ann@home.example")  # fmt: skip
        assert (value["user"], value["login"], value["server"]) == (ANN, "ann", "other")
        shown = connecting.done("user", "show", ANN, "--json").json
        assert shown["connected"] == [ANN, "ann@home.example"]
        before = len(connecting.done("audit", "--json").json)
        connecting.say(PASSWORD.encode())
        connect(connecting, "--provider", "other", "--login", "ann", "--user", ANN, address="Ann@Home.example")
        assert connecting.done("user", "show", ANN, "--json").json == shown
        assert len(connecting.done("audit", "--json").json) == before + 1

    @pytest.mark.parametrize(
        ("address", "why", "mend"),
        [("dee@acme.example", "no access", "--personal-email-access"), ("eve@acme.example", "is inactive", "--active")],
    )
    def test_of_a_user_whose_mail_is_not_logged_that_is_told(
        self, connecting: Any, address: str, why: str, mend: str
    ) -> None:
        words = ("mailbox", "connect", address, "--user", address, "--login", "ann", "--password-stdin")
        told = connecting.done(*words).error
        assert why in told
        assert f"onrecord user set {address} {mend}" in told

    def test_connecting_again_keeps_the_id(self, connecting: Any) -> None:
        first = connect(connecting)
        connecting.say(PASSWORD.encode())
        assert connect(connecting, "--provider", "other")["id"] == first["id"]
        assert [each["server"] for each in connecting.done("mailbox", "list", "--json").json] == ["other"]

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["fay@acme.example", "--user", "fay@acme.example"], "'fay@acme.example' is no user of P1"),
            (["no address", "--user", ANN], "'no address' is no e-mail address"),
            (["ann@home.example", "--user", ANN], "no provider of kind 'imap' has the domain of ann@home.example; name "
             "one with --provider: main, other"),
            ([ANN, "--user", ANN, "--provider", "sending"], "no provider named 'sending' of kind 'imap'"),
            ([ANN, "--user", ANN, "--provider", "nix"], "there are: main, other"),
            ([ANN, "--user", ANN, "--login", "a\x1bb"], "holds control characters"),
            ([ANN, "--user", ANN, "--login", BOB + "x"], "the login 'bob@acme.examplex' was refused by the server of "
             "'main'"),
            ([ANN, "--user", ANN, "--portal", "P9"], "there is no portal named 'P9'"),
            ([BOB, "--user", ANN], "bob@acme.example belongs to the user bob@acme.example already"),
        ],
    )  # fmt: skip
    def test_a_refusal_names_value_and_mend_and_keeps_nothing(
        self, connecting: Any, words: list[str], complaint: str
    ) -> None:
        assert complaint in connecting.refused("mailbox", "connect", *words, "--password-stdin")
        assert connecting.done("mailbox", "list", "--json").json == []

    def test_a_wrong_password_is_refused_and_shown_nowhere(self, connecting: Any) -> None:
        connecting.say(b"wrong-horse-staple\n")
        complaint = connecting.refused("mailbox", "connect", ANN, "--user", ANN, "--password-stdin")
        assert "was refused by the server of 'main'" in complaint
        assert "nothing was connected" in complaint
        assert "wrong-horse-staple" not in complaint

    @pytest.mark.parametrize("octets", [b"", b"\n", b"one\ntwo\n", b"x" * 5000])
    def test_what_is_no_password_is_refused(self, connecting: Any, octets: bytes) -> None:
        connecting.say(octets)
        assert "on one line" in connecting.refused("mailbox", "connect", ANN, "--user", ANN, "--password-stdin")

    def test_a_password_with_control_characters_is_refused(self, connecting: Any) -> None:
        connecting.say(b"a\0b")
        assert "this login cannot be" in connecting.refused(
            "mailbox", "connect", ANN, "--user", ANN, "--password-stdin"
        )

    def test_where_nobody_can_be_asked_the_ways_to_give_it_are_told(self, connecting: Any) -> None:
        assert "--password-stdin, or --oauth" in connecting.refused("mailbox", "connect", ANN, "--user", ANN)

    def test_a_server_that_is_away_is_told_with_the_mend(self, connecting: Any) -> None:
        port = free_port()
        configure(connecting, port)
        complaint = connecting.refused("mailbox", "connect", ANN, "--user", ANN, "--password-stdin")
        assert f"'main' at 127.0.0.1:{port}: ConnectionRefusedError; see host and port" in complaint

    def test_without_a_sealing_key_nobody_is_asked_for_anything(self, connecting: Any) -> None:
        (connecting.folder / "keys" / "sealing.key").unlink()
        complaint = connecting.refused("mailbox", "connect", ANN, "--user", ANN, "--password-stdin")
        assert "onrecord mailbox rekey" in complaint

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["--oauth", "own", "--password-stdin"], "--password-stdin"),
            (["--device"], "--device"),
            (["--redirect-port", "8080"], "--redirect-port"),
            (["--oauth", "own", "--redirect-port", "70000"], "65535"),
        ],
    )
    def test_options_that_do_not_go_together_are_a_wrong_line(
        self, connecting: Any, words: list[str], complaint: str
    ) -> None:
        assert complaint in connecting.refused("mailbox", "connect", ANN, "--user", ANN, *words, status=2)

    @pytest.mark.parametrize("way", [["--oauth", "google"], ["--oauth", "google", "--device"]])
    def test_a_server_without_token_mechanisms_is_told_before_anybody_consents(
        self, connecting: Any, way: list[str]
    ) -> None:
        complaint = connecting.refused("mailbox", "connect", ANN, "--user", ANN, *way)
        assert "the server of 'main' takes no tokens; try a password" in complaint


class TestStatus:
    def test_it_says_how_each_mailbox_is(self, connecting: Any) -> None:
        value = connect(connecting)
        assert connecting.done("mailbox", "status", "--json").json == [value]
        assert connecting.done("mailbox", "status", ANN, "--json").json == [value]
        assert "state" in connecting.done("mailbox", "status").text
        assert "onrecord mailbox list" in connecting.refused("mailbox", "status", BOB)

    def test_without_mailboxes_it_says_how_to_connect_one(self, connecting: Any) -> None:
        for command in ("list", "status"):
            assert "onrecord mailbox connect" in connecting.done("mailbox", command).error
            assert connecting.done("mailbox", command, "--json").json == []

    def test_it_tries_the_login_when_asked_to(self, connecting: Any) -> None:
        connect(connecting)
        (value,) = connecting.done("mailbox", "status", "--try", "--json").json
        assert (value["opens_now"], value["why_not"]) == (True, None)

    def test_what_does_not_open_gives_status_1_and_the_reason(self, connecting: Any, provider: Provider) -> None:
        connect(connecting)
        provider.stop()
        outcome = connecting.run("mailbox", "status", "--try", "--json")
        assert outcome.status == 1
        (value,) = outcome.json
        assert value["opens_now"] is False
        assert "ConnectionRefusedError" in value["why_not"]
        assert value["state"] == "ok"  # the server may come back

    def test_a_refused_password_is_noted(self, connecting: Any, provider: Provider, tmp_path: Path) -> None:
        connect(connecting)

        async def change_password() -> asyncio.Server:
            mailboxes = Mailboxes(tmp_path / "mail", {ANN: ANN})
            await mailboxes.open("another")
            return await asyncio.start_server(mailboxes.server(), "127.0.0.1", 0)

        server = provider.loop.run(change_password())
        configure(connecting, server.sockets[0].getsockname()[1])
        outcome = connecting.run("mailbox", "status", "--try", "--json")
        assert outcome.status == 1
        (value,) = outcome.json
        assert "the login was refused" in value["why_not"]
        assert value["trouble"]
        (again,) = connecting.done("mailbox", "status", "--json").json
        assert again["trouble"] == value["trouble"]
        provider.loop.run(close(server))

    def test_a_provider_that_settings_name_no_more_is_told(self, connecting: Any) -> None:
        connect(connecting)
        connecting.config.write_text('hash_key_file = "hash.key"\n')
        (value,) = connecting.run("mailbox", "status", "--try", "--json").json
        assert "no provider named 'main'" in value["why_not"]


async def close(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()


class TestDisconnect:
    def test_it_is_forgotten_with_its_password_and_the_address_stays_connected(self, connecting: Any) -> None:
        connect(connecting)
        assert connecting.done("mailbox", "disconnect", ANN).text == "ann@acme.example is disconnected\n"
        assert connecting.done("mailbox", "list", "--json").json == []
        assert connecting.done("user", "show", ANN, "--json").json["connected"] == [ANN]
        assert "onrecord mailbox list" in connecting.refused("mailbox", "disconnect", ANN)

    def test_the_trail_has_who_did_what(self, connecting: Any) -> None:
        connect(connecting, "--as", "Grace")
        connecting.done("mailbox", "disconnect", ANN, "--as", "Henry")
        entries = connecting.done("audit", "--json", "--limit", "2").json
        assert [(each["action"], each["who"], each["subject"]) for each in entries] == [
            ("mailbox.disconnect", "Henry", ANN),
            ("mailbox.connect", "Grace", ANN),
        ]


class TestRekey:
    def keys(self, sample: Any) -> list[str]:
        return (sample.folder / "keys" / "sealing.key").read_text().split()

    def test_the_first_key_is_made_for_its_owner_alone(self, connecting: Any) -> None:
        assert len(self.keys(connecting)) == 1
        assert (connecting.folder / "keys" / "sealing.key").stat().st_mode & 0o777 == 0o600

    def test_a_new_key_takes_the_place_of_the_old_one(self, connecting: Any) -> None:
        connect(connecting)
        before = self.keys(connecting)
        assert connecting.done("mailbox", "rekey").text == "sealed anew: 1\n"
        after = self.keys(connecting)
        assert len(after) == 1
        assert after != before
        connecting.done("mailbox", "status", "--try")
        for key in (*before, *after):
            assert key.encode() not in b"".join(
                each.read_bytes() for each in connecting.folder.glob("onrecord.sqlite*")
            )

    def test_what_was_broken_off_goes_on(self, connecting: Any) -> None:
        connect(connecting)
        path = connecting.folder / "keys" / "sealing.key"
        new, old = SealingKey.make().text(), *self.keys(connecting)
        path.write_text(f"{new}\n{old}\n")
        assert connecting.done("mailbox", "rekey").text == "sealed anew: 1\n"
        assert self.keys(connecting) == [new]
        connecting.done("mailbox", "status", "--try")

    def test_keys_that_others_hand_over_are_theirs_to_change(
        self, connecting: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(connecting)
        (old,) = self.keys(connecting)
        new = SealingKey.make().text()
        monkeypatch.setenv("ONRECORD_SEALING_KEY", f"{new} {old}")
        outcome = connecting.done("mailbox", "rekey")
        assert outcome.text == "sealed anew: 1\n"
        assert SealingKey.parse(old).id.hex() in outcome.error
        assert self.keys(connecting) == [old]
        monkeypatch.setenv("ONRECORD_SEALING_KEY", new)
        connecting.done("mailbox", "status", "--try")

    def test_without_the_key_of_connected_mailboxes_no_new_one_is_made(self, connecting: Any) -> None:
        connect(connecting)
        path = connecting.folder / "keys" / "sealing.key"
        path.unlink()
        assert "restore it from a backup" in connecting.refused("mailbox", "rekey")
        assert not path.exists()

    def test_the_wrong_key_is_told_with_the_one_that_is_wanted(self, connecting: Any) -> None:
        connect(connecting)
        (old,) = self.keys(connecting)
        (connecting.folder / "keys" / "sealing.key").write_text(SealingKey.make().text())
        complaint = connecting.refused("mailbox", "rekey")
        assert SealingKey.parse(old).id.hex() in complaint
        assert "or connect it again: onrecord mailbox connect ann@acme.example" in complaint
        assert old not in complaint


class TestCheck:
    def verdicts(self, sample: Any) -> list[str]:
        return [line for line in sample.run("check").text.splitlines() if "sealing key" in line or " mailbox " in line]

    def test_without_mailboxes_the_key_does_not_matter(self, connecting: Any) -> None:
        (connecting.folder / "keys" / "sealing.key").unlink()
        assert self.verdicts(connecting) == []

    def test_the_key_is_tried_on_what_is_kept(self, connecting: Any) -> None:
        connect(connecting)
        path = connecting.folder / "keys" / "sealing.key"
        assert self.verdicts(connecting) == [f"ok       sealing key: {path} opens 1 connected mailboxes"]
        path.chmod(0o640)
        assert self.verdicts(connecting) == [f"warning  sealing key: {path} can be read by others; chmod 600 {path}"]
        path.write_text(SealingKey.make().text())
        (verdict,) = self.verdicts(connecting)
        assert verdict.startswith("FAILED   sealing key: the secret of mailbox 1 (ann@acme.example) does not open")

    def test_a_mailbox_that_only_its_user_can_open_again_is_told(self, connecting: Any) -> None:
        connect(connecting)
        connection = sqlite3.connect(connecting.folder / "onrecord.sqlite")
        connection.execute("update connected_mailbox set state = 'needs reconnect', trouble = 'revoked'")
        connection.commit()
        connection.close()
        told = "warning  mailbox ann@acme.example: revoked; connect it again: onrecord mailbox connect ann@acme.example"
        assert self.verdicts(connecting)[0] == f"{told} --user ann@acme.example"


def test_no_file_of_the_installation_but_the_key_gives_the_password_away(connecting: Any) -> None:
    connect(connecting)
    connecting.done("mailbox", "status", "--try")
    connecting.done("mailbox", "rekey")
    everything = b"".join(each.read_bytes() for each in connecting.folder.rglob("*") if each.is_file())
    assert PASSWORD.encode() not in everything
    connection = sqlite3.connect(connecting.folder / "onrecord.sqlite")
    assert PASSWORD not in "\n".join(connection.iterdump())
    connection.close()
    assert PASSWORD not in json.dumps(connecting.done("audit", "--json").json)
