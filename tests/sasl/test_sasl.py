"""The login inside a SASL exchange is read, and nothing else of it is kept."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sasl import CHALLENGE_FIRST, READERS, LoginReader, Secret, first_prompt

SCRAM = (b"SCRAM-SHA-1", b"SCRAM-SHA-256", b"SCRAM-SHA-512")
# (mechanism, the client's messages before base64, the login)
EXAMPLES = [
    (b"PLAIN", [b"\0tim\0tanstaaftanstaaf"], "tim"),  # RFC 4616 §4
    (b"PLAIN", [b"Ursel\0Kurt\0xipj3plmq"], "Kurt"),  # RFC 4616 §4, with an authzid
    (b"PLAIN", [b"test\0test\x001234"], "test"),  # RFC 4954 §4.1
    (b"PLAIN", [b"", b"\0tim\0tanstaaftanstaaf"], "tim"),
    (b"PLAIN", ["\0zoë@ours.example\0x".encode()], "zoë@ours.example"),
    (b"PLAIN", [b"\0 ann@ours.example \0x"], "ann@ours.example"),
    (b"LOGIN", [b"ann@ours.example", b"sesame"], "ann@ours.example"),
    (b"LOGIN", [b"", b"ann@ours.example", b"sesame"], "ann@ours.example"),
    (
        b"XOAUTH2",
        [b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"],
        "someuser@example.com",
    ),
    (
        b"OAUTHBEARER",
        [
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer "
            b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
        ],
        "user@example.com",
    ),  # RFC 7628 §4.1
    (b"OAUTHBEARER", [b"n,a=user@example.com,\x01auth=Bearer x\x01\x01", b"\x01"], "user@example.com"),  # §3.2.3
    (b"OAUTHBEARER", [b"y,a=a=2Cb=3Dc,\x01auth=Bearer x\x01\x01"], "a,b=c"),
    (b"CRAM-MD5", [b"tim b913a602c7eda7a495b4e6e7334d3890"], "tim"),  # RFC 2195 §3
    (b"CRAM-MD5", [b"tim o tee b913a602c7eda7a495b4e6e7334d3890"], "tim o tee"),
    *(
        (
            mechanism,
            [
                b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",  # RFC 5802 §5
                b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            ],
            "user",
        )
        for mechanism in SCRAM
    ),
    (b"SCRAM-SHA-256", [b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", b""], "user"),  # RFC 7677 §3
    (b"SCRAM-SHA-256", [b"y,a=other,n=us=2Cer=3D,r=x"], "us,er="),
    (b"SCRAM-SHA-256", [b"p=tls-unique,,n=user,r=x"], "user"),
]
MALFORMED = [
    (b"PLAIN", b""),
    (b"PLAIN", b"tim"),
    (b"PLAIN", b"\0tim"),
    (b"PLAIN", b"\0\0secret"),
    (b"PLAIN", b"a\0b\0c\0d"),
    (b"PLAIN", b"\0 \0secret"),
    (b"XOAUTH2", b"user=\x01auth=Bearer x\x01\x01"),
    (b"XOAUTH2", b"auth=Bearer x\x01user=ann\x01\x01"),
    (b"XOAUTH2", b"user=ann"),
    (b"OAUTHBEARER", b"n,,\x01auth=Bearer x\x01\x01"),
    (b"OAUTHBEARER", b"a=ann,\x01auth=Bearer x\x01\x01"),
    (b"CRAM-MD5", b"b913a602c7eda7a495b4e6e7334d3890"),
    (b"CRAM-MD5", b" b913a602c7eda7a495b4e6e7334d3890"),
    (b"SCRAM-SHA-256", b"n=user,r=x"),
    (b"SCRAM-SHA-256", b"n,,r=x,n=user,"),
    (b"SCRAM-SHA-256", b"n,n=ann,n=bob,r=x"),
    (b"SCRAM-SHA-256", b"c=biws,r=x,n=bob,p=x"),
    (b"SCRAM-SHA-256", b"n,,n=,r=x"),
]


def read(mechanism: bytes, *messages: bytes) -> LoginReader:
    reader = LoginReader(mechanism)
    for each in messages:
        reader.feed(b64encode(each) or b"=")
    return reader


class TestLogin:
    @pytest.mark.parametrize(("mechanism", "messages", "login"), EXAMPLES)
    def test_is_read_from_the_examples_of_the_rfcs(self, mechanism: bytes, messages: list[bytes], login: str) -> None:
        reader = read(mechanism, *messages)
        assert reader.login == login
        assert not reader.is_contradictory

    @pytest.mark.parametrize(("mechanism", "message"), MALFORMED)
    def test_is_none_when_the_message_names_nobody(self, mechanism: bytes, message: bytes) -> None:
        assert read(mechanism, message).login is None

    @pytest.mark.parametrize("mechanism", sorted(READERS))
    @pytest.mark.parametrize("message", [b"", b"*", b"!!!!", b"AGFubg", b"AGFubg==\xff", b"AGFu bg=="])
    def test_is_none_when_the_message_is_no_base64(self, mechanism: bytes, message: bytes) -> None:
        reader = LoginReader(mechanism)
        reader.feed(message)
        assert reader.login is None

    def test_is_read_when_space_surrounds_the_base64(self) -> None:
        reader = LoginReader(b"PLAIN")
        reader.feed(b" AGFubgB4 ")
        assert reader.login == "ann"

    def test_is_none_for_a_mechanism_nobody_here_knows(self) -> None:
        assert read(b"GSSAPI", b"\0ann\0x").login is None

    @pytest.mark.parametrize("mechanism", [b"PLAIN", b"XOAUTH2", b"SCRAM-SHA-256", b"CRAM-MD5"])
    def test_is_contradictory_when_two_messages_name_different_users(self, mechanism: bytes) -> None:
        first, second = {
            b"PLAIN": (b"\0ann\0x", b"\0bob\0x"),
            b"XOAUTH2": (b"user=ann\x01\x01", b"user=bob\x01\x01"),
            b"SCRAM-SHA-256": (b"n,,n=ann,r=x", b"n,,n=bob,r=x"),
            b"CRAM-MD5": (b"ann 1", b"bob 1"),
        }[mechanism]
        assert not read(mechanism, first, first).is_contradictory
        assert read(mechanism, first, second).is_contradictory

    def test_of_login_is_never_the_password(self) -> None:
        reader = read(b"LOGIN", b"ann", b"sesame", b"more")
        assert reader.login == "ann"
        assert not reader.is_contradictory

    def test_of_scram_is_not_taken_from_the_extensions_of_a_later_message(self) -> None:
        reader = read(b"SCRAM-SHA-256", b"n,,n=ann,r=x", b"c=biws,r=xy,n=bob,p=x", b"n,n=bob,")
        assert reader.login == "ann"

    @given(st.sampled_from(sorted(READERS)), st.lists(st.binary(max_size=200), max_size=4))
    def test_reading_never_raises_whatever_is_decoded(self, mechanism: bytes, messages: list[bytes]) -> None:
        login = read(mechanism, *messages).login
        assert login is None or login.strip() == login != ""

    @given(st.sampled_from(sorted(READERS)), st.binary(max_size=200))
    def test_reading_never_raises_whatever_is_sent(self, mechanism: bytes, message: bytes) -> None:
        LoginReader(mechanism).feed(message)


class TestFirstPrompt:
    def test_is_empty_where_the_client_speaks_first(self) -> None:
        for mechanism in (b"PLAIN", b"XOAUTH2", b"OAUTHBEARER", *SCRAM):
            assert first_prompt(mechanism) == b""

    def test_asks_for_the_user_name_of_login(self) -> None:
        assert first_prompt(b"LOGIN") == b64encode(b"Username:")

    def test_is_none_where_a_true_challenge_comes_first(self) -> None:
        assert {first_prompt(each) for each in (*CHALLENGE_FIRST, b"GSSAPI", b"NTLM")} == {None}


class TestSecret:
    def test_is_shown_by_nothing_but_reveal(self) -> None:
        secret = Secret(b"sesame")
        assert secret.reveal() == b"sesame"
        for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", "%s" % secret, repr([secret])):  # noqa: UP031
            assert "sesame" not in shown

    def test_of_an_exchange_is_not_in_the_reader(self) -> None:
        reader = read(b"LOGIN", b"ann", b"sesame")
        kept = [getattr(reader, each) for each in reader.__slots__]
        assert not any("sesame" in repr(each) or "c2VzYW1l" in repr(each) for each in kept)
