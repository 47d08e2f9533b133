"""What transcripts cannot show of a session: its phases, what it costs, what it keeps, and what it never shows."""

from __future__ import annotations

import pytest
from octets import CountedOctets
from transcript import Stage

from proxy.smtp.reply_queue import MOST_PLACES
from proxy.smtp.session import Phase

LOGIN = b"AUTH PLAIN AGFubkBvdXJzLmV4YW1wbGUAc2VzYW1l\r\n"


def logged_in(**settings: str) -> Stage:
    """A session in which Ann has logged in."""
    stage = Stage(settings)
    stage.session.greet()
    stage.session.receive(b"EHLO client.example\r\n")
    stage.befall("provider ready")
    stage.session.receive(LOGIN)
    stage.wire.provider_says(b"235 2.7.0 Ok\r\n")
    stage.wire.client.clear()
    stage.wire.provider.clear()
    return stage


def in_data(**settings: str) -> Stage:
    stage = logged_in(**settings)
    stage.session.receive(b"MAIL FROM:<ann@ours.example>\r\nRCPT TO:<kim@cust.example>\r\nDATA\r\n")
    stage.wire.provider_says(b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go\r\n")
    stage.wire.client.clear()
    stage.wire.provider.clear()
    return stage


class TestPhase:
    """Each phase has its deadline (RFC 5321 §4.5.3.2)."""

    def test_follows_a_message_from_greeting_to_verdict(self) -> None:
        stage = Stage({"tap": "waits"})
        session, wire = stage.session, stage.wire
        session.greet()
        assert session.phase is Phase.CLIENT_COMMAND
        session.receive(b"EHLO client.example\r\n")
        assert session.phase is Phase.OURSELVES
        stage.befall("provider ready")
        session.receive(LOGIN)
        assert session.phase is Phase.PROVIDER_COMMAND
        wire.provider_says(b"235 2.7.0 Ok\r\n")
        assert session.login == "ann@ours.example"
        session.receive(b"MAIL FROM:<ann@ours.example>\r\n")
        assert session.phase is Phase.PROVIDER_COMMAND
        wire.provider_says(b"250 Ok\r\n")
        session.receive(b"RCPT TO:<kim@cust.example>\r\n")
        wire.provider_says(b"250 Ok\r\n")
        session.receive(b"DATA\r\n")
        assert session.phase is Phase.PROVIDER_DATA_INITIATION
        wire.provider_says(b"354 Go\r\n")
        assert session.phase is Phase.CLIENT_DATA
        session.receive(b"\r\nhi\r\n.\r\n")
        assert session.phase is Phase.PROVIDER_DATA_TERMINATION
        wire.provider_says(b"250 Queued\r\n")
        assert session.phase is Phase.CLIENT_COMMAND

    def test_is_ours_while_a_failed_login_waits(self) -> None:
        stage = Stage({})
        stage.session.receive(b"EHLO client.example\r\n")
        stage.befall("provider ready")
        stage.session.receive(LOGIN)
        stage.wire.provider_says(b"535 5.7.8 No\r\n")
        assert stage.session.phase is Phase.OURSELVES
        stage.befall("delay over")
        assert stage.session.phase is Phase.CLIENT_COMMAND

    def test_is_of_client_data_within_a_chunk_even_one_that_is_swallowed(self) -> None:
        stage = Stage({})
        stage.session.receive(b"BDAT 10\r\nhalf")
        assert stage.session.phase is Phase.CLIENT_DATA
        stage.session.receive(b"half..")
        assert stage.session.phase is Phase.CLIENT_COMMAND


class TestCost:
    @pytest.mark.parametrize("line", [b"NOOP\r\n", b"VRFY x\r\n", b"RSET\r\n"])
    def test_many_small_lines_at_once_are_touched_a_few_times(self, line: bytes) -> None:
        stage = Stage({})
        octets = line * 3000
        touched = [0]
        stage.session.receive(CountedOctets(octets, touched))
        assert stage.wire.client.count(b"\r\n") == 3000
        assert touched[0] < 40 * len(octets)

    def test_content_is_touched_a_few_times_on_its_way(self) -> None:
        stage = in_data()
        stage.session.receive(b"Date: x\r\nMessage-ID: <y>\r\n\r\n")
        body = b"x" * 100_000
        touched = [0]
        stage.session.receive(CountedOctets(body, touched))
        assert bytes(stage.wire.provider).endswith(body)
        assert touched[0] < 6 * len(body)

    def test_a_client_that_sends_ahead_too_much_is_held_until_it_may_go_on(self) -> None:
        stage = Stage({})
        stage.session.receive(b"EHLO client.example\r\n")
        stage.session.receive(b"NOOP\r\n" * 10_000)
        assert not stage.wire.is_held
        stage.session.receive(b"NOOP\r\n" * 1_000)
        assert stage.wire.is_held
        stage.befall("provider ready")
        assert not stage.wire.is_held
        assert stage.wire.provider == b"NOOP\r\n" * MOST_PLACES
        for number in range(2, 12):  # the rest goes on as the provider answers
            stage.wire.provider_says(b"250 2.0.0 Ok\r\n" * MOST_PLACES)
            assert stage.wire.provider == b"NOOP\r\n" * MOST_PLACES * number

    def test_commands_sent_ahead_of_a_capture_wait_for_it_and_are_carried_out(self) -> None:
        stage = in_data(tap="waits")
        stage.session.receive(b".\r\n" + b"VRFY x\r\n" * 3000 + b"NOOP\r\n")
        stage.wire.provider_says(b"250 2.0.0 Queued\r\n")
        assert not stage.wire.client
        stage.befall("captured")
        assert stage.wire.client.startswith(b"250 2.0.0 Queued\r\n252 ")
        assert stage.wire.client.count(b"\r\n") == 3001
        assert stage.wire.provider.endswith(b"NOOP\r\n")


class TestSecrets:
    @pytest.mark.parametrize(
        "line", [LOGIN, b"AUTH PLAIN\r\n", b"AUTH LOGIN YW5uQG91cnMuZXhhbXBsZQ==\r\n", b"AUTH XOAUTH2 c2VzYW1l\r\n"]
    )
    @pytest.mark.parametrize("settings", [{}, {"users": "known"}, {"route": "login"}])
    def test_are_in_no_text_a_session_could_be_shown_as(self, line: bytes, settings: dict[str, str]) -> None:
        stage = Stage(settings)
        stage.session.receive(b"EHLO client.example\r\n")
        if stage.wire.is_dialling:
            stage.befall("provider ready")
        stage.session.receive(line)
        stage.session.receive(b"AGFubkBvdXJzLmV4YW1wbGUAc2VzYW1l\r\n")
        for shown in _all_that_is_kept(stage.session):
            assert "sesame" not in shown
            assert "c2VzYW1l" not in shown
            assert "zZXNhbWU" not in shown


def _all_that_is_kept(thing: object, depth: int = 3) -> list[str]:
    """The repr of each object of ours that can be reached; octets waiting to be sent on are not shown by anything."""
    shown = [repr(thing), str(thing)]
    if depth:
        names = getattr(type(thing), "__slots__", None) or list(getattr(thing, "__dict__", ()))
        for name in names:
            value = getattr(thing, name, None)
            if type(value).__module__.startswith("proxy."):
                shown += _all_that_is_kept(value, depth - 1)
    return shown
