"""Random events, legal or not, from a random client and a random provider: what must hold whatever happens.

The session never raises. Replies to the client are well formed and come one for each command, in order. Content reaches
the provider exactly, or no end of data is sent. Nothing is sent to a provider that was dropped, and nothing is said to
a client whose connection was closed. A session can be closed at any time.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scripted_wire import CAPTURES, ScriptedTap, ScriptedWire

from proxy.limits import Limits
from proxy.smtp.extension import parse_extensions
from proxy.smtp.reply import ReplyReader
from proxy.smtp.session import Phase, Policy, Session

SECRET = b"sesame-sesame"
PLAIN = b64encode(b"\0ann@ours.example\0" + SECRET)
EXTENSIONS = parse_extensions([b"PIPELINING", b"SIZE 5000", b"CHUNKING", b"AUTH PLAIN LOGIN XOAUTH2 CRAM-MD5"])
RECEPTION = parse_extensions([b"PIPELINING", b"SIZE", b"CHUNKING"])
FIELDS = b"Date: x\r\nMessage-ID: <y>\r\n\r\n"

COMMANDS = st.sampled_from(
    [
        b"EHLO client.example\r\n", b"AUTH PLAIN " + PLAIN + b"\r\n", b"AUTH PLAIN\r\n", PLAIN + b"\r\n",
        b"AUTH LOGIN\r\n", b"AUTH LOGIN " + b64encode(b"ann@ours.example") + b"\r\n", b"AUTH CRAM-MD5\r\n",
        b"AUTH XOAUTH2 =\r\n", b"*\r\n", b"=\r\n", b64encode(SECRET) + b"\r\n",
        b"MAIL FROM:<ann@ours.example>\r\n", b"RCPT TO:<kim@cust.example>\r\n", b"DATA\r\n", b"RSET\r\n",
        b"RCPT TO:<log-p1@cap.example>\r\n", b"RCPT TO:<fwd-p1@cap.example>\r\n",
        b"NOOP\r\n", b"VRFY x\r\n", b"QUIT\r\n", b"BDAT 0\r\n", b"BDAT 0 LAST\r\n", b"BDAT 5\r\nab\r\n.",
        b"BDAT 4 LAST\r\n\r\n.\r", b"BDAT 30\r\nhalf a chunk",
    ]
)  # fmt: skip
CONTENT = st.sampled_from(
    [b"\r\n.\r\n", b".\r\n", b".", b"\r\n", FIELDS + b"a\n.\nb\r\n.\r\n", FIELDS, b"x" * 700, FIELDS + b"hi\r\n.\r\n"]
)
ILLEGAL = st.one_of(
    st.sampled_from(
        [
            b"AUTH NTLM\r\n", b"MAIL FROM:<ann@ours.example> SIZE=99999\r\n", b"MAIL FROM:<\r\n", b"FNORD\r\n",
            b"GET / HTTP/1.1\r\n", b"\r\n", b"\n", b"NOOP\rRSET\r\n", b"BDAT x\r\n", b"BDAT 9999 LAST\r\n", b"a\nb\r\n",
            b"\0", b"x\r\n" * 400, b"HELO client.example\r\n", b"STARTTLS\r\n", b"STARTTLS\r\nRSET\r\n",
        ]
    ),
    st.binary(max_size=30),
)  # fmt: skip
REPLIES = st.sampled_from(
    [b"250 2.0.0 Ok\r\n", b"250-a\r\n250 b\r\n", b"354 Go\r\n", b"550 5.1.1 No\r\n", b"452 Later\r\n"]
)
ODD_REPLIES = st.sampled_from(
    [
        b"334 \r\n", b"334 VXNlcm5hbWU6\r\n", b"235 2.7.0 Ok\r\n", b"535 5.7.8 No\r\n", b"421 4.3.2 Bye\r\n",
        b"221 2.0.0 Bye\r\n", b"250-half", b"junk\r\n", b"250 2.0.0 Ok\r\n550 5.0.0 No\r\n",
    ]
)  # fmt: skip
AWAITING = (Phase.PROVIDER_COMMAND, Phase.PROVIDER_DATA_INITIATION, Phase.PROVIDER_DATA_TERMINATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a session is set up, and how far it has come when the random events begin."""

    starttls: bool
    route_is_known: bool
    known_users_only: bool
    taps: bool
    waits: bool
    journals: bool
    mends: bool
    keeps: bool
    knows_captures: bool
    relays: bool
    begins: str


SETTINGS = st.builds(
    Setting,
    starttls=st.booleans(),
    route_is_known=st.booleans(),
    known_users_only=st.booleans(),
    taps=st.sampled_from([True, True, True, False]),
    waits=st.booleans(),
    journals=st.booleans(),
    mends=st.booleans(),
    keeps=st.booleans(),
    knows_captures=st.booleans(),
    relays=st.sampled_from([True, True, True, False]),
    begins=st.sampled_from(["connected", "logged in", "data", "chunk"]),
)
KIM, LOG = b"RCPT TO:<kim@cust.example>\r\n", b"RCPT TO:<log-p1@cap.example>\r\n"
RECIPIENTS = st.sampled_from([KIM, KIM, LOG, KIM + LOG, LOG + KIM])
# What ends most sessions happens to one in four that it could happen to, so that the others get far.
CHANCE = st.sampled_from([True, False, False, False])


class Sessions(RuleBasedStateMachine):
    """One session after another, until the steps are used up."""

    @initialize(setting=SETTINGS)
    def connect(self, setting: Setting) -> None:
        self.wire = ScriptedWire(taps=setting.taps, waits=setting.waits, journals=setting.journals, mends=setting.mends)
        self.wire.keeps, self.wire.knows_captures = setting.keeps, setting.knows_captures
        self.policy = Policy(
            hostname=b"relay.example",
            limits=Limits(message=1500, recipients=3, bad_commands=4, header_section=600, failed_logins=2),
            failed_login_delay=3.0,
            starttls=setting.starttls,
            route_is_known=setting.route_is_known and setting.relays,
            known_users_only=setting.known_users_only,
            offer=lambda: EXTENSIONS if setting.relays else RECEPTION,
            relays=setting.relays,
        )
        self.session = Session(self.wire, self.policy, is_secure=False)
        self.wire.session = self.session
        self.session.greet()
        if setting.begins != "connected":
            self.log_in()
        if setting.begins == "data":
            self.begin_message(b"DATA\r\n")
        elif setting.begins == "chunk":
            self.begin_message(b"BDAT 5\r\nab\r\n.")

    @precondition(lambda self: self.wire.client_is_closed)
    @rule(setting=SETTINGS)
    def another_client_connects(self, setting: Setting) -> None:
        self.teardown()
        self.connect(setting)

    # -- the client ---------------------------------------------------------------------------------------------------

    def conversation_goes_on(self, command: bytes, content: bytes, reply: bytes, *, succeeds: bool) -> None:
        """Whoever is awaited does something that he may do."""
        phase = self.session.phase
        if phase in AWAITING:
            self.wire.provider_says(b"354 Go\r\n" if phase is Phase.PROVIDER_DATA_INITIATION and succeeds else reply)
        elif phase is Phase.OURSELVES:
            self.what_is_waited_for_comes(succeeds=succeeds)
        else:
            self.hear(content if phase is Phase.CLIENT_DATA else command)

    # Rules are drawn evenly; this one is to be most of what happens.
    _goes_on = rule(command=COMMANDS, content=CONTENT, reply=REPLIES, succeeds=st.booleans())
    goes_on_once, goes_on_twice, goes_on_thrice, goes_on_further = (
        _goes_on(conversation_goes_on), _goes_on(conversation_goes_on),
        _goes_on(conversation_goes_on), _goes_on(conversation_goes_on),
    )  # fmt: skip

    @rule(pieces=st.lists(st.one_of(COMMANDS, CONTENT), max_size=6))
    def client_sends_ahead(self, pieces: list[bytes]) -> None:
        self.hear(b"".join(pieces))

    @rule(
        ending=st.sampled_from([b"DATA\r\n", b"DATA\r\n", b"BDAT 5\r\nab\r\n.", b"BDAT 5\r\nab"]),
        recipients=RECIPIENTS,
    )
    def client_begins_a_message(self, ending: bytes, recipients: bytes) -> None:
        self.begin_message(ending, recipients)

    @rule()
    def client_logs_in(self) -> None:
        self.log_in()

    @rule(octets=ILLEGAL, happens=CHANCE)
    def client_says_something_illegal(self, octets: bytes, *, happens: bool) -> None:
        if happens:
            self.hear(octets)

    def hear(self, octets: bytes) -> None:
        if not self.wire.client_is_closed:
            self.session.receive(octets)

    def begin_message(self, ending: bytes, recipients: bytes = KIM) -> None:
        self.hear(b"RSET\r\nMAIL FROM:<ann@ours.example>\r\n" + recipients)
        self.answer_all(b"250")
        self.hear(ending)
        self.answer_all(b"250")
        if self.session.phase is Phase.PROVIDER_DATA_INITIATION:
            self.wire.provider_says(b"354 Go\r\n")

    def log_in(self) -> None:
        """The way through, so that mail is met often."""
        if self.policy.starttls:
            self.hear(b"STARTTLS\r\n")
            self.tls_is_up()
        self.hear(b"EHLO client.example\r\n")
        self.dialled()
        self.hear(b"AUTH PLAIN " + PLAIN + b"\r\n")
        if self.wire.checks:
            self.wire.checks.pop(0)(True)
        self.dialled()
        if self.session.phase is Phase.PROVIDER_COMMAND:
            self.wire.provider_says(b"235 2.7.0 Ok\r\n")

    # -- the provider and the world -----------------------------------------------------------------------------------

    @rule(code=st.sampled_from([b"250", b"550"]))
    def provider_answers_all(self, code: bytes) -> None:
        self.answer_all(code)

    @rule(octets=st.one_of(REPLIES, ODD_REPLIES), happens=CHANCE)
    def provider_says_anything(self, octets: bytes, *, happens: bool) -> None:
        if happens:
            self.wire.provider_says(octets)

    @rule(what=st.sampled_from(["client lost", "provider lost", "deadline", "shut down"]), happens=CHANCE)
    def something_ends(self, what: str, *, happens: bool) -> None:
        if not happens:
            return
        if what == "client lost" and not self.wire.client_is_gone:
            self.wire.client_is_lost()
        elif what == "provider lost":
            self.wire.provider_is_lost()
        elif what == "deadline" and self.session.phase is not Phase.OURSELVES:
            self.session.expire()
        elif what == "shut down":
            self.session.shut_down()

    @rule(succeeds=st.booleans())
    def something_comes_true(self, *, succeeds: bool) -> None:
        self.what_is_waited_for_comes(succeeds=succeeds)

    def what_is_waited_for_comes(self, *, succeeds: bool) -> None:
        wire = self.wire
        if wire.is_dialling and not succeeds:
            wire.provider_fails(b"421 4.4.1 Away\r\n")
        self.dialled()
        self.tls_is_up()
        for pending in (wire.delays, wire.capturing):
            if pending:
                pending.pop(0)()
        for pending_of_bool in (wire.checks, wire.journalling, wire.keeping):
            if pending_of_bool:
                pending_of_bool.pop(0)(succeeds)
        self.asked(nobody_can_tell=not succeeds)

    def answer_all(self, code: bytes) -> None:
        for _ in range(40):
            self.asked(nobody_can_tell=False)
            if self.session.phase in (Phase.PROVIDER_COMMAND, Phase.PROVIDER_DATA_TERMINATION):
                self.wire.provider_says(code + b" 2.0.0 Answer\r\n")

    def asked(self, *, nobody_can_tell: bool) -> None:
        if self.wire.asking:
            path, tell = self.wire.asking.pop(0)
            tell(None if nobody_can_tell else path in CAPTURES)

    def dialled(self) -> None:
        if self.wire.is_dialling:
            self.wire.provider_is_ready(EXTENSIONS)

    def tls_is_up(self) -> None:
        if "start TLS with the client" in self.wire.events and not self.wire.client_is_closed:
            self.wire.events.remove("start TLS with the client")
            self.session.client_is_secure()

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_done_that_must_never_be(self) -> None:
        if hasattr(self, "wire"):
            assert self.wire.breaches == []

    @invariant()
    def nobody_is_told_that_a_message_is_logged_before_it_is(self) -> None:
        if hasattr(self, "wire"):
            kept = sum(tap.end == "kept" for tap in self.wire.taps)
            assert bytes(self.wire.client).count(b"250 2.6.0 ") <= kept - len(self.wire.keeping)

    @invariant()
    def replies_are_well_formed(self) -> None:
        if hasattr(self, "wire"):
            reader = ReplyReader(max_line=4096, max_lines=128)
            reader.feed(bytes(self.wire.client))
            assert reader.is_empty

    @invariant()
    def content_is_what_the_tap_saw_or_the_message_came_to_nothing(self) -> None:
        if hasattr(self, "wire"):
            for tap in self.wire.taps:
                if tap.end in ("delivered", "refused", "lost"):
                    assert went_on(tap, self.wire), "content did not go on as it was"
                    if not tap.is_chunked:
                        plain = bytes(tap.octets).replace(b"\r\n", b"")
                        assert not set(plain) & set(b"\r\n\0"), "a message with a bare line end was ended"

    @invariant()
    def nothing_is_relayed_where_there_is_no_provider(self) -> None:
        if hasattr(self, "wire") and not self.policy.relays:
            assert not self.wire.provider
            assert not [each for each in self.wire.events if each.startswith("dial")]

    @invariant()
    def no_secret_is_shown(self) -> None:
        if hasattr(self, "wire"):
            shown = repr(self.session) + str(self.session) + repr(self.policy) + "".join(self.wire.events)
            assert SECRET.decode() not in shown
            assert PLAIN.decode() not in shown

    def teardown(self) -> None:
        """Whatever the state, the session can be closed: the client goes, and all that is open comes true."""
        if not hasattr(self, "wire"):
            return
        wire = self.wire
        if not wire.client_is_gone:
            wire.client_is_lost()
        for _ in range(10):
            for pending in (wire.delays, wire.capturing):
                while pending:
                    pending.pop(0)()
            for pending_of_bool in (wire.checks, wire.journalling, wire.keeping):
                while pending_of_bool:
                    pending_of_bool.pop(0)(True)
            while wire.asking:
                self.asked(nobody_can_tell=False)
            if wire.is_connected:
                self.session.expire()
        assert not wire.is_connected
        assert not wire.is_dialling
        assert wire.breaches == []
        assert all(tap.end is not None for tap in wire.taps), "a tap was never told how its message ended"


def went_on(tap: ScriptedTap, wire: ScriptedWire) -> bool:
    """Mail data goes on in one piece; between chunks other commands may stand, and BDAT before each."""
    if not tap.is_chunked:
        return bytes(tap.octets) in bytes(wire.provider)
    sent = iter(wire.pieces)
    return all(any(piece.endswith(shown) for piece in sent) for shown in tap.pieces)


Sessions.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestSessions = Sessions.TestCase
