"""How our own IMAP client logs in, and what it says when it is refused."""

from __future__ import annotations

import base64

import pytest
from imap_dialogue import ask

from proxy.imap.framing import BadFrame
from proxy.imap.wire import Credentials
from proxy.imap_client.access import Access, Login, Mechanism, access_of, is_passing, may_log_in
from proxy.imap_client.dialogue import Answer
from proxy.sasl import Secret

PLAIN, SHORT = b"AUTH=PLAIN", b"SASL-IR"
BEARER = b"AUTH=XOAUTH2", b"AUTH=OAUTHBEARER"
GO = b"+ \r\n"
NO = b"o1 NO [AUTHENTICATIONFAILED] no\r\n"
OK = b"o1 OK [CAPABILITY IMAP4rev1 IDLE] welcome\r\n"


def access(mechanism: Mechanism, login: str = "ann@acme.example", secret: str = "secret") -> Access:
    return Access(login, Secret(secret.encode()), mechanism)


def encoded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def said(mechanism: Mechanism, *turns: bytes, capabilities: tuple[bytes, ...] = (), **more: str) -> bytes:
    return ask(Login(access(mechanism, **more), frozenset(capabilities)), *turns)[1]


class TestPasswords:
    def test_plain_waits_to_be_asked(self) -> None:
        message = encoded(b"\0ann@acme.example\0secret")
        for mechanism in (Mechanism.PASSWORD, Mechanism.PLAIN):
            assert said(mechanism, GO, OK, capabilities=(PLAIN,)) == b"o1 AUTHENTICATE PLAIN\r\n" + message + b"\r\n"

    def test_plain_stands_in_the_command_where_it_may(self) -> None:
        message = encoded(b"\0ann@acme.example\0secret")
        assert (
            said(Mechanism.PASSWORD, OK, capabilities=(PLAIN, SHORT)) == b"o1 AUTHENTICATE PLAIN " + message + b"\r\n"
        )

    def test_login_is_taken_where_plain_is_not_offered(self) -> None:
        assert said(Mechanism.PASSWORD, OK) == b'o1 LOGIN "ann@acme.example" "secret"\r\n'

    @pytest.mark.parametrize("secret", ['a"b\\c', " ", "", "{3}", "%*"])
    def test_login_quotes(self, secret: str) -> None:
        written = secret.replace("\\", "\\\\").replace('"', '\\"')
        assert said(Mechanism.LOGIN, OK, secret=secret) == f'o1 LOGIN "ann@acme.example" "{written}"\r\n'.encode()

    @pytest.mark.parametrize("secret", ["grün", "a\r\nb"])
    def test_login_sends_what_cannot_be_quoted_when_it_is_asked_to(self, secret: str) -> None:
        octets = secret.encode()
        first = b'o1 LOGIN "ann@acme.example" {%d}\r\n' % len(octets)
        assert said(Mechanism.LOGIN, secret=secret) == first
        assert said(Mechanism.LOGIN, GO, OK, secret=secret) == first + octets + b"\r\n"
        both = said(Mechanism.LOGIN, GO, GO, OK, secret=secret, login="ännchen")
        assert both == b"o1 LOGIN {8}\r\n\xc3\xa4nnchen {%d}\r\n" % len(octets) + octets + b"\r\n"

    def test_a_server_that_asks_without_end_is_left(self) -> None:
        with pytest.raises(BadFrame):
            said(Mechanism.PLAIN, GO, GO, GO, capabilities=(PLAIN,))


class TestTokens:
    def test_xoauth2(self) -> None:
        message = encoded(b"user=ann@acme.example\x01auth=Bearer secret\x01\x01")
        assert said(Mechanism.XOAUTH2, GO, OK) == b"o1 AUTHENTICATE XOAUTH2\r\n" + message + b"\r\n"

    def test_oauthbearer(self) -> None:
        message = encoded(b"n,a=a=3Db=2Cc,\x01auth=Bearer secret\x01\x01")
        given = said(Mechanism.OAUTHBEARER, OK, login="a=b,c", capabilities=(SHORT,))
        assert given == b"o1 AUTHENTICATE OAUTHBEARER " + message + b"\r\n"

    @pytest.mark.parametrize(
        ("mechanism", "answer"), [(Mechanism.XOAUTH2, b"\r\n"), (Mechanism.OAUTHBEARER, b"AQ==\r\n")]
    )
    def test_a_refusal_by_challenge_is_answered_so_that_it_ends(self, mechanism: Mechanism, answer: bytes) -> None:
        reason = b"+ " + encoded(b'{"status":"401"}') + b"\r\n"
        for capabilities, turns in (((), (GO, reason, NO)), ((SHORT,), (reason, NO))):
            _, given, dialogue = ask(Login(access(mechanism), frozenset(capabilities)), *turns)
            assert given.endswith(b"\r\n" + answer)
            assert dialogue.answer is not None
            assert dialogue.answer.code == "AUTHENTICATIONFAILED"


class TestWhatIsOffered:
    @pytest.mark.parametrize(
        ("mechanism", "capabilities", "may"),
        [
            (Mechanism.PASSWORD, (), True),
            (Mechanism.PASSWORD, (b"LOGINDISABLED",), False),
            (Mechanism.PASSWORD, (b"LOGINDISABLED", PLAIN), True),
            (Mechanism.LOGIN, (b"LOGINDISABLED", PLAIN), False),
            (Mechanism.PLAIN, (), False),
            (Mechanism.XOAUTH2, BEARER, True),
            (Mechanism.OAUTHBEARER, (PLAIN,), False),
        ],
    )
    def test_a_login_goes_only_where_it_is_taken(
        self, mechanism: Mechanism, capabilities: tuple[bytes, ...], may: bool
    ) -> None:
        assert may_log_in(access(mechanism), frozenset(capabilities)) is may

    @pytest.mark.parametrize(
        ("line", "passes"), [("[UNAVAILABLE]", True), ("[LIMIT]", True), ("[EXPIRED]", False), ("", False)]
    )
    def test_some_refusals_pass(self, line: str, passes: bool) -> None:
        assert is_passing(Answer(b"NO", f"o1 NO {line} text\r\n".encode())) is passes


class TestWhatAClientSaid:
    @pytest.mark.parametrize(
        ("mechanism", "said", "expected"),
        [
            (None, (b"ann", b"s"), ("ann", b"s", Mechanism.LOGIN)),
            (b"PLAIN", (encoded(b"x\0ann\0s"),), ("ann", b"s", Mechanism.PLAIN)),
            (b"LOGIN", (encoded(b"ann"), encoded(b"s")), ("ann", b"s", Mechanism.LOGIN)),
            (b"XOAUTH2", (encoded(b"user=ann\x01auth=Bearer t\x01\x01"),), ("ann", b"t", Mechanism.XOAUTH2)),
            (
                b"OAUTHBEARER",
                (encoded(b"n,a=ann,\x01host=h\x01auth=Bearer t\x01\x01"),),
                ("ann", b"t", Mechanism.OAUTHBEARER),
            ),
        ],
    )
    def test_it_can_be_said_again(
        self, mechanism: bytes | None, said: tuple[bytes, ...], expected: tuple[str, bytes, Mechanism]
    ) -> None:
        found = access_of(Credentials(mechanism, tuple(map(Secret, said))))
        assert found is not None
        assert (found.login, found.secret.reveal(), found.mechanism) == expected

    @pytest.mark.parametrize(
        ("mechanism", "said"),
        [
            (b"PLAIN", b"???"),
            (b"PLAIN", encoded(b"ann")),
            (b"SCRAM-SHA-256", b"eA=="),
            (b"XOAUTH2", encoded(b"user=a\x01\x01")),
        ],
    )
    def test_or_not(self, mechanism: bytes, said: bytes) -> None:
        assert access_of(Credentials(mechanism, (Secret(said),))) is None

    def test_nothing_secret_is_printed(self) -> None:
        found = access(Mechanism.PLAIN, secret="geheim")
        login = Login(found, frozenset((PLAIN,)))
        assert "geheim" not in repr(found) + repr(login) + repr(vars(login))
