"""Who may be believed to have written a message: DKIM by real DNS answers, and the results of trusted servers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import FrameType
from typing import Any

import dkim.canonicalization
import pytest
from dns_zone import DnsZone
from signer import Signer

import engine
from engine.authentication import Policy, parse_policy
from proxy.authentication import MAX_FIELDS, MAX_RECORD, AuthenticationUnavailable, Authenticator, resolver
from store.parsing import split

MAIL = b"From: Ann <ann@acme.example>\r\nTo: kim@cust.example\r\nMessage-ID: <1@acme.example>\r\n\r\nHello\r\n"
NOBODY: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def acme() -> Signer:
    return Signer("acme.example")


@pytest.fixture(scope="module")
def evil() -> Signer:
    return Signer("evil.example")


@pytest.fixture
def zone(acme: Signer, evil: Signer) -> Iterator[DnsZone]:
    with DnsZone(acme.records | evil.records) as zone:
        yield zone


async def prove(zone: DnsZone, octets: bytes, trusted: frozenset[str] = NOBODY) -> str | None:
    """The method of the proof."""
    message = engine.read(split(octets)[0])
    proof = await Authenticator(resolver((zone.server,))).prove(message, octets, trusted)
    return proof.method if proof is not None else None


class TestSignatures:
    async def test_a_signature_of_the_authors_domain_is_proof(self, zone: DnsZone, acme: Signer) -> None:
        assert await prove(zone, acme.sign(MAIL)) == "dkim"

    async def test_a_message_without_signature_proves_nothing(self, zone: DnsZone) -> None:
        assert await prove(zone, MAIL) is None

    async def test_a_changed_body_breaks_it(self, zone: DnsZone, acme: Signer) -> None:
        assert await prove(zone, acme.sign(MAIL).replace(b"Hello", b"Hallo")) is None

    async def test_another_domains_signature_is_no_proof(self, zone: DnsZone, evil: Signer) -> None:
        assert await prove(zone, evil.sign(MAIL)) is None

    async def test_another_domains_signature_beside_the_authors_does_no_harm(
        self, zone: DnsZone, acme: Signer, evil: Signer
    ) -> None:
        assert await prove(zone, evil.sign(acme.sign(MAIL))) == "dkim"

    async def test_a_second_from_field_makes_the_author_unknown(self, zone: DnsZone, acme: Signer) -> None:
        assert await prove(zone, b"From: kim@cust.example\r\n" + acme.sign(MAIL)) is None

    async def test_two_authors_are_not_one(self, zone: DnsZone, acme: Signer) -> None:
        assert (
            await prove(zone, acme.sign(MAIL.replace(b"<ann@acme.example>", b"<ann@acme.example>, x@y.example")))
            is None
        )

    async def test_a_body_length_leaves_room_for_more_text(self, zone: DnsZone, acme: Signer) -> None:
        assert await prove(zone, acme.sign(MAIL, length=True)) is None

    async def test_recipients_that_are_not_signed_could_be_anybody(self, zone: DnsZone, acme: Signer) -> None:
        assert await prove(zone, acme.sign(MAIL, fields=("from", "message-id"))) is None

    async def test_a_key_that_is_not_in_dns_is_no_key(self, zone: DnsZone) -> None:
        assert await prove(zone, Signer("acme.example", selector="gone").sign(MAIL)) is None

    async def test_a_subdomain_may_sign_unless_the_policy_is_strict(self) -> None:
        mailer = Signer("mail.acme.example")
        for policy, expected in (("v=DMARC1; p=none", "dkim"), ("v=DMARC1; p=none; adkim=s", None)):
            with DnsZone(mailer.records | {"_dmarc.acme.example": policy}) as zone:
                assert await prove(zone, mailer.sign(MAIL)) == expected

    async def test_silence_of_dns_is_no_answer(self, acme: Signer) -> None:
        with DnsZone(dict.fromkeys(acme.records)) as zone:
            octets = acme.sign(MAIL)
            authenticator = Authenticator(resolver((zone.server,), seconds=0.2))
            with pytest.raises(AuthenticationUnavailable):
                await authenticator.prove(engine.read(split(octets)[0]), octets, NOBODY)

    @pytest.mark.parametrize(
        "field",
        [
            b"DKIM-Signature: \r\n",
            b"DKIM-Signature: v=1; a=rsa-sha256; d=acme.example; s=s1; h=from; bh=; b=\r\n",
            b"DKIM-Signature: v=1; a=\xff; d=\xff\xff; s=" + b"x" * 70 + b"; h=:::; bh=!!; b=!!\r\n",
            b"DKIM-Signature: " + b"=;" * 5000 + b"\r\n",
        ],
    )
    async def test_a_broken_signature_is_none(self, zone: DnsZone, field: bytes) -> None:
        assert await prove(zone, field + MAIL) is None

    async def test_only_the_first_signatures_are_looked_at(self, zone: DnsZone, acme: Signer) -> None:
        broken = acme.sign(MAIL).replace(b"Hello", b"Hallo")
        signature = broken[: broken.index(b"From: Ann")]
        await prove(zone, signature * 200 + MAIL)
        assert len(zone.questions) <= 2  # the resolver's cache answers the rest

    async def test_one_whose_name_has_space_behind_it_does_not_stand_for_another(
        self, zone: DnsZone, acme: Signer, evil: Signer
    ) -> None:
        other = acme.sign(MAIL.replace(b"Hello", b"Hallo")).replace(b"DKIM-Signature:", b"DKIM-Signature :")
        signature = other[: other.index(b"From: Ann")]
        assert await prove(zone, signature + evil.sign(MAIL)) is None

    async def test_folded_fields_are_signed_as_one(self, zone: DnsZone, acme: Signer) -> None:
        folded = MAIL.replace(b"To: kim@cust.example", b"To: kim@cust.example,\r\n\tlee@cust.example\r\n ")
        assert await prove(zone, acme.sign(folded)) == "dkim"
        assert await prove(zone, acme.sign(folded).replace(b"lee@", b"max@")) is None


class TestBounds:
    """Who has a domain can sign anything and publish any key; no such mail may keep the recorder busy."""

    @pytest.mark.parametrize("count", [1000, 100_000])
    async def test_blanks_that_do_not_count_are_folded_before_the_library_sees_them(
        self, zone: DnsZone, acme: Signer, count: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        octets = acme.sign(MAIL.replace(b"Hello", b"Hello" + b" \t" * 50 + b"Kim"), body=b"relaxed")
        octets = octets.replace(b" \t" * 50, b" \t" * count)
        steps = 0
        strip = dkim.canonicalization.strip_trailing_whitespace

        def counted(content: bytes) -> bytes:
            nonlocal steps
            steps += sum(len(blanks) ** 2 for blanks in re.findall(rb"[\t ]+", content))  # what its pattern takes
            return bytes(strip(content))

        monkeypatch.setattr(dkim.canonicalization, "strip_trailing_whitespace", counted)
        assert await prove(zone, octets) == "dkim"
        assert steps <= len(MAIL)

    async def test_where_each_blank_counts_it_does(self, zone: DnsZone, acme: Signer) -> None:
        octets = acme.sign(MAIL.replace(b"Hello", b"Hello  Kim"))
        assert await prove(zone, octets) == "dkim"
        assert await prove(zone, octets.replace(b"Hello  Kim", b"Hello Kim")) is None

    async def test_a_field_of_a_hundred_thousand_lines_takes_steps_in_proportion(
        self, zone: DnsZone, acme: Signer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        octets = [b"X:" + b"\r\n x" * lines + b"\r\n" + acme.sign(MAIL) for lines in (10, 100_000)]
        counts = []
        for each in octets:
            with monkeypatch.context() as patched:
                patched.setattr("proxy.authentication.asyncio.to_thread", _here)
                counts.append(await _steps(zone, each))
        assert counts[1] <= counts[0] + 100

    async def test_more_fields_than_any_mail_has_are_not_tried(self, zone: DnsZone, acme: Signer) -> None:
        octets = acme.sign(MAIL)
        assert await prove(zone, b"X:\r\n" * (MAX_FIELDS - 10) + octets) == "dkim"
        asked = len(zone.questions)
        assert await prove(zone, b"X:\r\n" * (MAX_FIELDS + 1) + octets) is None
        assert len(zone.questions) == asked

    async def test_a_signature_that_lists_more_than_any_does_is_not_tried(self, zone: DnsZone, acme: Signer) -> None:
        octets = acme.sign(MAIL, fields=("from", "to", *(f"x{number}" for number in range(20))))
        long = octets.replace(b"h=", b"h=" + b"x:" * 10_000, 1)
        assert await prove(zone, long) is None
        assert zone.questions == []

    async def test_a_key_that_would_take_minutes_is_none(self, acme: Signer) -> None:
        (key, text), policy = next(iter(acme.records.items())), "v=DMARC1; p=reject"
        for length, expected in ((MAX_RECORD, "dkim"), (MAX_RECORD + 1, None)):
            padded = text.replace("k=rsa;", "k=rsa; n=" + "x" * (length - len(text) - 4) + ";")
            assert len(padded) == length
            with DnsZone({key: padded, "_dmarc.acme.example": policy}) as zone:
                assert await prove(zone, acme.sign(MAIL)) == expected


async def _here(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


async def _steps(zone: DnsZone, octets: bytes) -> int:
    """How many calls of functions a proof takes."""
    message = engine.read(split(octets)[0])
    authenticator = Authenticator(resolver((zone.server,)))
    count = 0

    def called(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += "/dkim/" in frame.f_code.co_filename and event in ("call", "c_call")

    sys.setprofile(called)
    try:
        assert await authenticator.prove(message, octets, NOBODY) is not None
    finally:
        sys.setprofile(None)
    return count


RESULTS = [
    ("mx.acme.example; dmarc=pass header.from=acme.example", "results"),
    ("mx.acme.example 1; spf=fail; dmarc=pass (p=reject dis=none) header.from=acme.example", "results"),
    ("MX.ACME.EXAMPLE; dkim=pass header.d=acme.example header.s=s1", "results"),
    ("mx.acme.example; dkim=pass header.i=@mail.acme.example", "results"),
    ("mx.acme.example; dkim=pass header.d=evil.example", None),
    ("mx.acme.example; dmarc=fail header.from=acme.example", None),
    ("mx.acme.example; dmarc=pass header.from=evil.example", None),
    ("mx.acme.example; spf=pass smtp.mailfrom=acme.example", None),
    ("mx.acme.example (dmarc=pass header.from=acme.example); none", None),
    ("mx.evil.example; dmarc=pass header.from=acme.example", None),
    ("mx.acme.example", None),
    ("", None),
]


class TestResults:
    @pytest.mark.parametrize(("value", "expected"), RESULTS)
    async def test_a_trusted_servers_results_count_as_written(self, zone: DnsZone, value: str, expected: str) -> None:
        field = f"Authentication-Results: {value}\r\n".encode()
        assert await prove(zone, field + MAIL, frozenset(("mx.acme.example",))) == expected

    async def test_nobody_is_trusted_who_was_not_named(self, zone: DnsZone) -> None:
        field = b"Authentication-Results: mx.acme.example; dmarc=pass header.from=acme.example\r\n"
        assert await prove(zone, field + MAIL) is None

    async def test_a_field_below_the_topmost_of_the_server_was_there_before(self, zone: DnsZone) -> None:
        forged = b"Authentication-Results: mx.acme.example; dmarc=pass header.from=acme.example\r\n"
        true = b"Authentication-Results: mx.acme.example; dmarc=fail header.from=acme.example\r\n"
        assert await prove(zone, true + forged + MAIL, frozenset(("mx.acme.example",))) is None

    async def test_exchange_online_names_no_server(self, zone: DnsZone) -> None:
        field = (
            b"Authentication-Results: spf=pass (sender IP is 192.0.2.1) smtp.mailfrom=acme.example;\r\n dkim=pass"
            b" (signature was verified) header.d=acme.example;dmarc=pass action=none\r\n header.from=acme.example;"
            b"compauth=pass reason=100\r\n"
        )
        assert await prove(zone, field + MAIL, frozenset("-")) == "results"
        assert await prove(zone, field + MAIL, frozenset(("mx.acme.example",))) is None


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        ("v=DMARC1; p=none", Policy()),
        ("v=DMARC1;p=reject;adkim=s", Policy(is_strict=True)),
        (" v = DMARC1 ; adkim = r", Policy()),
        ("v=spf1 -all", None),
        ("", None),
        ("v=DMARC2; adkim=s", None),
    ],
)
def test_policies_are_read_from_their_records(record: str, policy: Policy | None) -> None:
    assert parse_policy(record) == policy


class TestRedirects:
    """Who sent a message on is named by Resent-From, which anybody can put before what the user once signed."""

    RESENT = b"Resent-From: ann@acme.example\r\nResent-To: fwd-p1@cap.example\r\n"
    OF_KIM = RESENT + MAIL.replace(b"From: Ann <ann@acme.example>", b"From: kim@cust.example")

    async def redirected(self, zone: DnsZone, octets: bytes, trusted: frozenset[str] = NOBODY) -> str | None:
        """The method by which Ann is proven to have sent it on."""
        message = replace(engine.read(split(octets)[0]), authors=("ann@acme.example",))
        proof = await Authenticator(resolver((zone.server,))).prove(message, octets, trusted)
        return proof.method if proof is not None else None

    async def test_a_signature_over_it_is_proof(self, zone: DnsZone, acme: Signer) -> None:
        assert await self.redirected(zone, acme.sign(self.OF_KIM)) == "dkim"

    async def test_a_signature_that_leaves_it_out_is_none(self, zone: DnsZone, acme: Signer) -> None:
        fields = ("from", "to", "message-id")
        assert await self.redirected(zone, acme.sign(self.OF_KIM, fields=fields)) is None

    async def test_results_do_not_say_what_was_signed(self, zone: DnsZone) -> None:
        results = b"Authentication-Results: mx.acme.example; dkim=pass header.d=acme.example\r\n"
        assert await self.redirected(zone, results + self.OF_KIM, frozenset(("mx.acme.example",))) is None
        assert await prove(zone, results + MAIL, frozenset(("mx.acme.example",))) == "results"
