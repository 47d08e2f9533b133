"""What a provider offers, and what of it our clients are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.smtp.extension import advertise, common, mechanisms, parse_extensions
from proxy.smtp.reply import ReplyReader

CARRIED = [
    b"SIZE", b"8BITMIME", b"SMTPUTF8", b"PIPELINING", b"ENHANCEDSTATUSCODES", b"DSN", b"CHUNKING", b"BINARYMIME",
    b"DELIVERBY", b"MT-PRIORITY", b"REQUIRETLS", b"FUTURERELEASE", b"LIMITS",
]  # fmt: skip
NOT_CARRIED = [b"XCLIENT", b"XFORWARD", b"ETRN", b"BURL", b"STARTTLS", b"AUTH", b"VRFY", b"HELP", b"EXPN", b"X-UNKNOWN"]


def told(extensions: dict[bytes, bytes], *, offered: tuple[bytes, ...] = (), starttls: bool = False) -> list[bytes]:
    octets = advertise(
        b"relay.example", extensions, max_size=1000, max_recipients=100, offered=list(offered), starttls=starttls
    )
    (reply,) = ReplyReader(max_line=4096, max_lines=128).feed(octets)
    assert reply.code == 250
    assert reply.texts()[0] == b"relay.example"
    return reply.texts()[1:]


class TestParse:
    def test_keywords_are_in_capitals_and_parameters_as_written(self) -> None:
        texts = [b"size 1000", b"Dsn", b"AUTH PLAIN login", b"LIMITS  RCPTMAX=5 "]
        assert parse_extensions(texts) == {
            b"SIZE": b"1000", b"DSN": b"", b"AUTH": b"PLAIN login", b"LIMITS": b"RCPTMAX=5",
        }  # fmt: skip

    def test_of_a_keyword_named_twice_the_first_stands(self) -> None:
        assert parse_extensions([b"SIZE 1", b"SIZE 2"]) == {b"SIZE": b"1"}

    def test_an_empty_line_is_no_keyword(self) -> None:
        assert parse_extensions([b"", b"  ", b"DSN"]) == {b"DSN": b""}

    def test_auth_with_an_equals_sign_offers_no_mechanism(self) -> None:
        assert mechanisms(parse_extensions([b"AUTH=LOGIN PLAIN"])) == []


class TestMechanisms:
    def test_are_those_that_can_be_relayed_step_by_step(self) -> None:
        offered = {b"AUTH": b"plain SCRAM-SHA-256-PLUS Login ANONYMOUS GSSAPI SCRAM-SHA-256 XOAUTH2"}
        assert mechanisms(offered) == [b"PLAIN", b"LOGIN", b"GSSAPI", b"SCRAM-SHA-256", b"XOAUTH2"]

    def test_are_none_where_no_login_is_offered(self) -> None:
        assert mechanisms({}) == mechanisms({b"AUTH": b""}) == []


class TestAdvertise:
    @pytest.mark.parametrize("keyword", [each for each in CARRIED if each not in (b"SIZE", b"BINARYMIME", b"LIMITS")])
    def test_what_is_carried_is_told_with_its_parameters(self, keyword: bytes) -> None:
        assert told({keyword: b""}) == [keyword]
        assert told({keyword: b"a=B c"}) == [keyword + b" a=B c"]
        assert told({}) == []

    @pytest.mark.parametrize("keyword", NOT_CARRIED)
    def test_what_is_not_carried_is_not_told(self, keyword: bytes) -> None:
        assert told({keyword: b"", b"DSN": b""}) == [b"DSN"]

    @pytest.mark.parametrize(
        ("theirs", "size"), [(b"10", 10), (b"5000", 1000), (b"0", 1000), (b"", 1000), (b"x", 1000), (b"-5", 1000)]
    )
    def test_size_is_the_smaller_of_ours_and_the_provider_s(self, theirs: bytes, size: int) -> None:
        assert told({b"SIZE": theirs}) == [b"SIZE %d" % size]

    @pytest.mark.parametrize(
        ("theirs", "ours"),
        [
            (b"RCPTMAX=50 MAILMAX=7", b"RCPTMAX=50 MAILMAX=7"),
            (b"MAILMAX=7 rcptmax=5000", b"MAILMAX=7 rcptmax=100"),
            (b"RCPTMAX=many", b"RCPTMAX=many"),
        ],
    )
    def test_limits_count_our_recipients_too(self, theirs: bytes, ours: bytes) -> None:
        assert told({b"LIMITS": theirs}) == [b"LIMITS " + ours]

    def test_binarymime_needs_chunking(self) -> None:
        assert told({b"BINARYMIME": b""}) == []
        assert told({b"BINARYMIME": b"", b"CHUNKING": b""}) == [b"CHUNKING", b"BINARYMIME"]

    def test_login_and_starttls_are_ours_to_offer(self) -> None:
        assert told({b"AUTH": b"GSSAPI"}, offered=(b"PLAIN", b"LOGIN")) == [b"AUTH PLAIN LOGIN"]
        assert told({}, starttls=True) == [b"STARTTLS"]

    @given(
        st.dictionaries(
            st.sampled_from(CARRIED + NOT_CARRIED), st.from_regex(rb"[!-~]{0,20}( [!-~]{1,20})?", fullmatch=True)
        )
    )
    def test_what_is_told_reads_back_and_holds_nothing_that_was_not_offered(self, theirs: dict[bytes, bytes]) -> None:
        ours = parse_extensions(told(theirs))
        assert set(ours) <= set(theirs) & set(CARRIED)


class TestCommon:
    def test_is_what_every_provider_carries(self) -> None:
        first = {b"DSN": b"x", b"SIZE": b"300", b"AUTH": b"PLAIN LOGIN XOAUTH2", b"LIMITS": b"RCPTMAX=1"}
        second = {b"SIZE": b"200", b"AUTH": b"xoauth2 plain", b"LIMITS": b"RCPTMAX=2", b"CHUNKING": b""}
        assert common([first, second]) == {b"SIZE": b"200", b"AUTH": b"PLAIN XOAUTH2"}
        assert common([second, first])[b"AUTH"] == b"XOAUTH2 PLAIN"

    def test_sizes_without_a_limit_do_not_count(self) -> None:
        assert common([{b"SIZE": b"0"}, {b"SIZE": b"500"}, {b"SIZE": b""}]) == {b"SIZE": b"500"}
        assert common([{b"SIZE": b"0"}, {b"SIZE": b""}]) == {b"SIZE": b""}

    def test_of_nobody_is_nothing(self) -> None:
        assert common([]) == {}

    def test_parameters_that_need_one_provider_are_left_out(self) -> None:
        extensions = dict.fromkeys((b"LIMITS", b"FUTURERELEASE", b"DELIVERBY", b"MT-PRIORITY", b"DSN"), b"1")
        assert common([extensions, extensions]) == {b"DSN": b""}
