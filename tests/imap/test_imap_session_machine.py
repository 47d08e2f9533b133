"""Anything may happen to a session before login, in any order: some things must never follow from it."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from imap_stage import CAPABILITIES, Stage

from proxy.failures import Failure
from proxy.imap.response import parse_response, response_reader
from proxy.imap.session import Phase

SECRET = b"hunter2-password"
PLAIN = base64.b64encode(b"\0ann@ours.example\0" + SECRET)
COMMANDS = st.sampled_from(
    [
        b"L LOGIN ann@ours.example " + SECRET + b"\r\n", b'L LOGIN "ann@ours.example" {16}\r\n', SECRET + b"\r\n",
        b"L LOGIN {16+}\r\nann@ours.example {16+}\r\n" + SECRET + b"\r\n", b"L AUTHENTICATE PLAIN " + PLAIN + b"\r\n",
        b"L AUTHENTICATE PLAIN\r\n", PLAIN + b"\r\n", b"L AUTHENTICATE LOGIN\r\n", b"YW5uQG91cnMuZXhhbXBsZQ==\r\n",
        b"L AUTHENTICATE CRAM-MD5\r\n", b"L AUTHENTICATE SCRAM-SHA-1-PLUS\r\n", b"*\r\n", b"\r\n",
        b"L LOGIN eve@x x\r\n", b"L AUTHENTICATE XOAUTH2 AAAA\r\n", b"L AUTHENTICATE PLAIN =\r\n",
        b"C CAPABILITY\r\n", b"C NOOP\r\n", b'C ID ("name" "x")\r\n', b"C STARTTLS\r\n", b"C LOGOUT\r\n",
        b"C SELECT x\r\n",
    ]
)  # fmt: skip
ILLEGAL = st.one_of(
    st.sampled_from(
        [b"GET / HTTP/1.1\r\n", b"C NOOP\n", b"<b> NOOP\r\n", b"C LOGIN {99999}\r\n", b"C STARTTLS\r\nL LOGIN a b\r\n"]
    ),
    st.binary(max_size=20),
)
RESPONSES = st.sampled_from(
    [
        b"L OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE] In\r\n", b"L NO Wrong\r\n", b"L BAD What?\r\n", b"+ AAAA\r\n",
        b"+\r\n",
        b"C OK Done\r\n", b"C NO\r\n", b"* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE AUTH=X-PLUS\r\n",
        b"* OK hello {3}\r\n",
        b"* BYE\r\n", b"L OK [REFERRAL imap://evil/] In\r\n", b"* ID NIL\r\n", b"* ID {2}\r\nab\r\n", b"junk\r\n",
        b"L OK",
        b"L OK In\r\n* 1 EXISTS\r\n", b"* PREAUTH hi\r\n", b"X OK\r\n",
    ]
)  # fmt: skip
CHANCE = st.sampled_from([True, False, False, False])


@dataclass(frozen=True, slots=True)
class Setting:
    """How a session is set up."""

    listener: str
    route: str
    users: str
    greeting: str

    def settings(self) -> dict[str, str]:
        limits = {"limits": "failed_logins=3 bad_commands=5", "provider": CAPABILITIES + " AUTH=CRAM-MD5 AUTH=XOAUTH2"}
        greeting = {"greeting": self.greeting} if self.greeting else {}
        return {"listener": self.listener, "route": self.route, "users": self.users, **limits, **greeting}


SETTINGS = st.builds(
    Setting,
    st.sampled_from(["clear", "starttls", "starttls", "implicit"]),
    st.sampled_from(["listener", "login"]),
    st.sampled_from(["any", "known"]),
    st.sampled_from(["", "none", "* OK hello"]),
)


class Sessions(RuleBasedStateMachine):
    """One session after another, until the steps are used up."""

    @initialize(setting=SETTINGS)
    def connect(self, setting: Setting) -> None:
        self.setting = setting
        self.stage = Stage(setting.settings())
        self.wire = self.stage.wire
        self.said = bytearray()
        self.answered = bytearray()
        self.was_secured = setting.listener != "starttls"
        self.stage.session.start()

    @precondition(lambda self: self.is_over)
    @rule(setting=SETTINGS)
    def another_client_connects(self, setting: Setting) -> None:
        self.teardown()
        self.connect(setting)

    @property
    def is_over(self) -> bool:
        return self.wire.client_is_closed or self.wire.passage is not None

    # -- what happens -------------------------------------------------------------------------------------------------

    @rule(octets=COMMANDS, answer=RESPONSES, succeeds=st.booleans())
    def conversation_goes_on(self, octets: bytes, answer: bytes, *, succeeds: bool) -> None:
        """Whoever is awaited does something that he may do."""
        match self.stage.session.phase:
            case Phase.CLIENT_COMMAND:
                self.client_says(octets)
            case Phase.PROVIDER_COMMAND:
                self.provider_says(answer)
            case Phase.OURSELVES:
                self.what_is_waited_for_comes(succeeds=succeeds)
            case Phase.OVER:
                pass

    @rule(octets=COMMANDS, answer=RESPONSES, succeeds=st.booleans())
    def conversation_goes_on_further(self, octets: bytes, answer: bytes, *, succeeds: bool) -> None:
        self.conversation_goes_on(octets, answer, succeeds=succeeds)

    @rule(pieces=st.lists(COMMANDS, max_size=4))
    def client_sends_ahead(self, pieces: list[bytes]) -> None:
        self.client_says(b"".join(pieces))

    @rule(octets=ILLEGAL, happens=CHANCE)
    def client_says_something_illegal(self, octets: bytes, *, happens: bool) -> None:
        if happens:
            self.client_says(octets)

    @rule(octets=st.one_of(RESPONSES, st.binary(max_size=10)), happens=CHANCE)
    def provider_says_anything(self, octets: bytes, *, happens: bool) -> None:
        if happens:
            self.provider_says(octets)

    @rule(what=st.sampled_from(["client lost", "provider lost", "deadline passes", "shut down"]), happens=CHANCE)
    def something_ends(self, what: str, *, happens: bool) -> None:
        if happens and not self.is_over:
            self.stage.befall(what)

    @rule(succeeds=st.booleans())
    def what_is_waited_for_comes(self, *, succeeds: bool) -> None:
        wire = self.wire
        if wire.is_dialling and succeeds:
            self.stage.provider_is_ready()
        elif wire.is_dialling:
            self.stage.provider_fails(Failure.NO_ROUTE)
        if wire.is_upgrading and not wire.client_is_closed:
            self.was_secured = True
            self.stage.client_is_secure()
        if wire.delays:
            wire.delays.pop(0)()
        if wire.checks:
            wire.checks.pop(0)(succeeds)

    def client_says(self, octets: bytes) -> None:
        if not self.is_over:
            self.said += octets
            self.stage.client_says(octets)

    def provider_says(self, octets: bytes) -> None:
        if self.wire.is_connected and not self.is_over:
            self.answered += octets
            self.stage.provider_says(octets)

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_done_that_must_never_be(self) -> None:
        if hasattr(self, "wire"):
            assert self.wire.breaches == []

    @invariant()
    def nobody_is_logged_in_whom_the_provider_did_not_accept(self) -> None:
        if hasattr(self, "wire") and self.wire.authenticated is not None:
            assert re.search(rb"(?m)^L OK", bytes(self.answered)), "logged in without the provider"
            assert self.was_secured, "logged in in clear"

    @invariant()
    def nothing_goes_to_a_provider_before_the_client_is_private(self) -> None:
        if hasattr(self, "wire") and not self.was_secured:
            assert not self.wire.provider
            assert not [event for event in self.wire.events if event.startswith("dial")]

    @invariant()
    def the_client_gets_well_formed_responses_only(self) -> None:
        if hasattr(self, "wire") and self.wire.passage is None:
            reader = response_reader()
            reader.feed(bytes(self.wire.client))
            while (parts := reader.take()) is not None:
                parse_response(parts)
            assert reader.is_empty

    @invariant()
    def the_client_is_offered_nothing_that_cannot_be_had(self) -> None:
        if hasattr(self, "wire"):
            for word in (b"COMPRESS=", b"-PLUS", b"LOGIN-REFERRALS", b"[REFERRAL"):
                assert word not in self.wire.client

    @invariant()
    def no_command_is_answered_more_often_than_it_was_given(self) -> None:
        if hasattr(self, "wire") and self.wire.passage is None:
            for tag in (b"L", b"C"):
                answers = re.findall(rb"(?m)^" + tag + rb" (?:OK|NO|BAD)", bytes(self.wire.client))
                assert len(answers) <= len(re.findall(tag + rb" ", bytes(self.said)))

    @invariant()
    def no_secret_is_shown(self) -> None:
        if hasattr(self, "wire"):
            shown = repr(self.stage.session) + "".join(self.wire.events) + repr(self.wire.authenticated)
            shown += repr(vars(self.stage.session._login)) + repr(self.stage.session._conversation.awaited)
            assert SECRET.decode() not in shown
            assert PLAIN.decode() not in shown

    def teardown(self) -> None:
        """Whatever the state, the session can be closed."""
        if not hasattr(self, "wire"):
            return
        if self.wire.passage is None:
            if not self.wire.client_is_closed:
                self.stage.client_is_lost()
            for _ in range(5):
                self.what_is_waited_for_comes(succeeds=True)
            assert not self.wire.is_connected
            assert self.stage.session.phase is Phase.OVER
        self.stage.session.close()
        assert self.wire.breaches == []


Sessions.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestSessions = Sessions.TestCase
