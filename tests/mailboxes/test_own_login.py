"""Logging in ourselves: what is said to the server, and what is made of its answers."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.secret import Secret
from proxy.failures import DialError
from proxy.imap.command import parse_command
from proxy.imap.framing import Reader, command_limit, literal_of
from proxy.imap.opening import Send
from proxy.imap.own_login import (
    LoggedIn,
    LoginRefused,
    MailboxCredentials,
    OwnLogin,
    choose_mechanism,
    is_offered,
    spoken,
)
from proxy.imap.wire import Credentials
from proxy.sasl import LoginReader

Cut = Callable[[bytes], list[bytes]]
CUTS = [lambda octets: [octets], lambda octets: [bytes((each,)) for each in octets]]
TEXTS = st.text(st.characters(exclude_characters="\0\1", exclude_categories=["Cs"]), min_size=1, max_size=40)


def said(mechanism: str, login: str = "ann@acme.example", secret: str = "hunter2", *capabilities: bytes) -> OwnLogin:
    credentials = MailboxCredentials(login=login, mechanism=mechanism, secret=Secret(secret.encode()))
    offered = frozenset(capabilities)
    return OwnLogin(spoken(credentials, host="imap.example", port=993, capabilities=offered), offered)


def play(login: OwnLogin, *answers: bytes, cut: Cut = CUTS[0]) -> tuple[bytes, LoggedIn | None]:
    """What we said while the server answered so, and whether we are in."""
    spoke = login.start().octets
    for answer in answers:
        for piece in cut(answer):
            step = login.receive(piece)
            if isinstance(step, Send):
                spoke += step.octets
            elif step is not None:
                return spoke, step
    return spoke, None


OK = b"onrecord OK Logged in\r\n"
PLAIN = base64.b64encode(b"\0ann@acme.example\0hunter2")
XOAUTH2 = base64.b64encode(b"user=ann@acme.example\1auth=Bearer hunter2\1\1")
BEARER = base64.b64encode(b"n,a=ann@acme.example,\1host=imap.example\1port=993\1auth=Bearer hunter2\1\1")


@pytest.mark.parametrize("cut", CUTS)
class TestWhatIsSaid:
    @pytest.mark.parametrize(
        ("mechanism", "message"), [("PLAIN", PLAIN), ("XOAUTH2", XOAUTH2), ("OAUTHBEARER", BEARER)]
    )
    def test_the_message_goes_at_once_only_where_the_server_takes_it(
        self, cut: Cut, mechanism: str, message: bytes
    ) -> None:
        name = mechanism.encode()
        spoke, done = play(said(mechanism, "ann@acme.example", "hunter2", b"SASL-IR"), OK, cut=cut)
        assert spoke == b"onrecord AUTHENTICATE " + name + b" " + message + b"\r\n"
        assert done == LoggedIn(None, b"")
        spoke, done = play(said(mechanism), b"+ \r\n", OK, cut=cut)
        assert spoke == b"onrecord AUTHENTICATE " + name + b"\r\n" + message + b"\r\n"
        assert done == LoggedIn(None, b"")

    def test_login_quotes_what_can_be_quoted(self, cut: Cut) -> None:
        spoke, _ = play(said("LOGIN", "ann", 'a "b" \\c %*{1}'), OK, cut=cut)
        assert spoke == b'onrecord LOGIN "ann" "a \\"b\\" \\\\c %*{1}"\r\n'

    def test_login_sends_other_octets_as_literals_when_asked(self, cut: Cut) -> None:
        login = said("LOGIN", "änn", "pä\r\nss")
        assert login.start().octets == b"onrecord LOGIN {4}\r\n"
        assert login.receive(b"+ \r\n") == Send("änn".encode() + b" {7}\r\n")
        assert login.receive(b"+ go on\r\n") == Send("pä\r\nss".encode() + b"\r\n")
        assert login.receive(OK) == LoggedIn(None, b"")

    def test_where_the_command_is_disabled_the_mechanism_of_its_name_is_spoken(self, cut: Cut) -> None:
        login = said("LOGIN", "ann", "hunter2", b"LOGINDISABLED", b"AUTH=LOGIN", b"SASL-IR")
        spoke, done = play(login, b"+ VXNlcm5hbWU6\r\n", b"+ UGFzc3dvcmQ6\r\n", OK, cut=cut)
        assert spoke == b"onrecord AUTHENTICATE LOGIN\r\nYW5u\r\naHVudGVyMg==\r\n"
        assert done is not None

    @pytest.mark.parametrize(("mechanism", "end"), [("XOAUTH2", b"\r\n"), ("OAUTHBEARER", b"AQ==\r\n")])
    def test_a_challenge_after_the_token_is_answered_so_that_the_server_ends_it(
        self, cut: Cut, mechanism: str, end: bytes
    ) -> None:
        login = said(mechanism, "ann", "hunter2", b"SASL-IR")
        login.start()
        steps = [step for piece in cut(b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n") if (step := login.receive(piece))]
        assert steps == [Send(end)]
        with pytest.raises(LoginRefused) as caught:
            for piece in cut(b"onrecord NO [AUTHENTICATIONFAILED] Invalid credentials\r\n"):
                login.receive(piece)
        assert not caught.value.is_passing

    def test_capabilities_are_taken_from_wherever_they_stand(self, cut: Cut) -> None:
        _, done = play(said("LOGIN"), b"onrecord OK [CAPABILITY IMAP4rev1 idle] in\r\n", cut=cut)
        assert done == LoggedIn(frozenset((b"IMAP4REV1", b"IDLE")), b"")
        _, done = play(said("LOGIN"), b"* CAPABILITY IMAP4rev1 MOVE\r\n", OK, cut=cut)
        assert done == LoggedIn(frozenset((b"IMAP4REV1", b"MOVE")), b"")

    @pytest.mark.parametrize(
        "answer",
        [b"* BYE too busy\r\n", b"other OK in\r\n", b"nonsense\r\n", b"* X\r\n" * 200, b"onrecord OK\n", b"x" * 40000],
    )
    def test_a_server_that_speaks_no_imap_is_not_listened_to(self, cut: Cut, answer: bytes) -> None:
        with pytest.raises(DialError) as caught:
            play(said("LOGIN"), answer, cut=cut)
        assert "hunter2" not in str(caught.value)


def test_octets_behind_the_answer_are_handed_over() -> None:
    _, done = play(said("LOGIN"), OK + b"* 1 EXISTS\r\n")
    assert done == LoggedIn(None, b"* 1 EXISTS\r\n")


def test_a_server_that_asks_for_more_than_there_is_gets_a_cancellation() -> None:
    login = said("PLAIN")
    login.start()
    assert login.receive(b"+ \r\n") == Send(PLAIN + b"\r\n")
    assert login.receive(b"+ \r\n") == Send(b"*\r\n")


@given(TEXTS, TEXTS)
def test_what_we_say_is_read_as_the_same_name_by_our_own_server_side(login: str, secret: str) -> None:
    for mechanism in ("PLAIN", "XOAUTH2", "OAUTHBEARER"):
        credentials = MailboxCredentials(login=login, mechanism=mechanism, secret=Secret(secret.encode()))
        reader = LoginReader(mechanism.encode())
        reader.feed(spoken(credentials, host="h", port=1).said[0].reveal())
        assert reader.login == (login.strip() or None)


@given(TEXTS, TEXTS)
def test_our_login_command_is_read_as_name_and_password(login: str, secret: str) -> None:
    own = said("LOGIN", login, secret)
    reader = Reader(command_limit, lambda text, is_first: literal_of(text))
    spoke = own.start().octets
    while True:
        reader.feed(spoke)
        if (parts := reader.take()) is not None:
            break
        step = own.receive(b"+ \r\n")
        assert isinstance(step, Send)
        spoke = step.octets
    arguments = parse_command(parts).arguments()
    assert (arguments.take(), arguments.take(), arguments.is_end) == (login.encode(), secret.encode(), True)


@pytest.mark.parametrize("octet", ["\0", "\1"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_what_would_forge_another_field_is_refused(mechanism: str, octet: str) -> None:
    for pair in ((f"ann{octet}x", "secret"), ("ann", f"secret{octet}x")):
        with pytest.raises(ValueError, match="control characters"):
            said(mechanism, *pair)


@pytest.mark.parametrize(
    ("offered", "with_token", "chosen"),
    [
        (b"IMAP4REV1 AUTH=PLAIN AUTH=LOGIN", False, "PLAIN"),
        (b"IMAP4REV1", False, "LOGIN"),
        (b"IMAP4REV1 LOGINDISABLED AUTH=LOGIN", False, "LOGIN"),
        (b"IMAP4REV1 LOGINDISABLED AUTH=XOAUTH2", False, None),
        (b"IMAP4REV1 AUTH=PLAIN AUTH=OAUTHBEARER AUTH=XOAUTH2", True, "XOAUTH2"),
        (b"IMAP4REV1 AUTH=OAUTHBEARER", True, "OAUTHBEARER"),
        (b"IMAP4REV1 AUTH=PLAIN", True, None),
    ],
)
def test_the_mechanism_is_one_that_the_server_offers(offered: bytes, with_token: bool, chosen: str | None) -> None:
    assert choose_mechanism(offered.split(), with_token=with_token) == chosen


@pytest.mark.parametrize(
    ("mechanism", "offered", "is_taken"),
    [
        (None, b"IMAP4REV1", True),
        (None, b"IMAP4REV1 LOGINDISABLED AUTH=PLAIN", False),
        (b"PLAIN", b"IMAP4REV1 AUTH=PLAIN", True),
        (b"PLAIN", b"IMAP4REV1", False),
        (b"OAUTHBEARER", b"IMAP4REV1 AUTH=PLAIN AUTH=XOAUTH2", False),
    ],
)
def test_a_login_goes_only_where_it_is_offered(mechanism: bytes | None, offered: bytes, is_taken: bool) -> None:
    said = Credentials(mechanism, (Secret(b"x"), Secret(b"y")))
    assert is_offered(said, frozenset(offered.split())) is is_taken


class TestRefusals:
    @pytest.mark.parametrize(
        ("answer", "text", "is_passing"),
        [
            (b"NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", "[AUTHENTICATIONFAILED] Invalid", False),
            (b"NO [ALERT] Application-specific password required: https://x", "[ALERT] Application-specific", False),
            (b"NO LOGIN failed.", "LOGIN failed.", False),
            (b"NO [UNAVAILABLE] Temporary System Error", "[UNAVAILABLE] Temporary", True),
            (b"NO [LIMIT] Too many connections", "[LIMIT]", True),
            (b"NO [INUSE] locked", "[INUSE]", True),
            (b"NO Server Unavailable. 15", "Server Unavailable. 15", True),
            (b"NO [AUTHENTICATIONFAILED] Temporarily wrong", "[AUTHENTICATIONFAILED]", False),
            (b"BAD command unknown", "command unknown", False),
            (b"NO", "NO", False),
            (b"NO \x1b[2J\xff", "\N{REPLACEMENT CHARACTER}[2J", False),
        ],
    )
    def test_what_the_server_says_is_told_and_whether_it_may_pass(
        self, answer: bytes, text: str, is_passing: bool
    ) -> None:
        with pytest.raises(LoginRefused) as caught:
            play(said("LOGIN"), b"onrecord " + answer + b"\r\n")
        assert text in str(caught.value)
        assert caught.value.is_passing is is_passing
        assert "\x1b" not in str(caught.value)

    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
    def test_a_server_that_repeats_the_secret_is_not_quoted(self, mechanism: str) -> None:
        for echo in (b"hunter2", PLAIN, XOAUTH2, BEARER, b"[hunter2] x"):
            if echo in (PLAIN, XOAUTH2, BEARER) and base64.b64decode(echo) not in {
                base64.b64decode(each.reveal()) for each in spoken_as(mechanism)
            }:
                continue
            with pytest.raises(LoginRefused) as caught:
                play(said(mechanism), b"onrecord NO no such user " + echo + b"\r\n")
            assert "hunter2" not in str(caught.value)
            assert echo.decode() not in str(caught.value)

    @pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2"])
    def test_one_that_repeats_the_name_is_quoted(self, mechanism: str) -> None:
        with pytest.raises(LoginRefused, match=r"no user ann@acme\.example here"):
            play(said(mechanism), b"onrecord NO no user ann@acme.example here\r\n")

    @pytest.mark.parametrize(
        ("message", "is_hidden"),
        [(XOAUTH2.rstrip(b"="), True), (XOAUTH2[:-3], True), (b"?" + XOAUTH2, True), (b"=", False), (b"?QUFBQ", False)],
        ids=["no padding", "cut off", "odd", "empty", "five"],
    )
    def test_what_a_client_said_need_not_be_good_base64(self, message: bytes, is_hidden: bool) -> None:
        """A lenient server has taken it once."""
        login = OwnLogin(Credentials(b"XOAUTH2", (Secret(message),)), frozenset((b"SASL-IR",)))
        with pytest.raises(LoginRefused) as caught:
            play(login, b"onrecord NO not hunter2\r\n")
        assert ("hunter2" not in str(caught.value)) is is_hidden


def spoken_as(mechanism: str) -> tuple[Secret, ...]:
    if mechanism == "LOGIN":
        return ()
    credentials = MailboxCredentials(login="ann@acme.example", mechanism=mechanism, secret=Secret(b"hunter2"))
    return spoken(credentials, host="imap.example", port=993).said
