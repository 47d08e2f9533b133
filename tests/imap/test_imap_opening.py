"""The first words with a provider, or with somebody between us and it."""

from __future__ import annotations

import pytest
from octets import cut, singly, splits

from proxy.failures import DialError, Failure
from proxy.imap.opening import Opened, Opening, Send, StartTls

GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello {3}\r\n"
Step = Send | StartTls | Opened


def steps(opening: Opening, chunks: list[bytes]) -> list[Step]:
    return [step for chunk in chunks if (step := opening.receive(chunk)) is not None]


class TestImplicitTls:
    def test_a_greeting_with_capabilities_is_enough(self) -> None:
        for chunks in ([GREETING], singly(GREETING), *splits(GREETING)):
            assert steps(Opening(starttls=False), chunks) == [Opened(b"IMAP4rev1 AUTH=PLAIN", GREETING)]

    def test_capabilities_are_asked_for_where_they_were_not_told(self) -> None:
        opening = Opening(starttls=False)
        assert steps(opening, [b"* OK hello\r\n"]) == [Send(b"onrecord CAPABILITY\r\n")]
        answer = b"* CAPABILITY IMAP4rev1 ID\r\nonrecord OK done\r\n* OK more\r\n"
        assert steps(opening, [answer]) == [Opened(b"IMAP4rev1 ID", b"* OK hello\r\n", b"* OK more\r\n")]

    @pytest.mark.parametrize(
        ("octets", "failure"),
        [
            (b"* PREAUTH [CAPABILITY IMAP4rev1] welcome\r\n", Failure.PROTOCOL),
            (b"* BYE full\r\n", Failure.REFUSED),
            (b"* NO\r\n", Failure.PROTOCOL),
            (b"* CAPABILITY IMAP4rev1\r\n", Failure.PROTOCOL),
            (b"+ go\r\n", Failure.PROTOCOL),
            (b"a OK hello\r\n", Failure.PROTOCOL),
            (b"220 smtp.example ESMTP\r\n", Failure.PROTOCOL),
            (b"\x15\x03\x01\x00\x02\x02\x16\r\n", Failure.PROTOCOL),
            (b"* OK hel\rlo\r\n", Failure.PROTOCOL),
            (b"* OK " + b"x" * 40000, Failure.PROTOCOL),
        ],
    )
    def test_any_other_greeting_is_refused(self, octets: bytes, failure: Failure) -> None:
        for chunks in ([octets], cut(octets, [1, 5, 9])):
            with pytest.raises(DialError) as error:
                steps(Opening(starttls=False), chunks)
            assert error.value.failure is failure

    @pytest.mark.parametrize(
        "answer",
        [b"onrecord OK done\r\n", b"onrecord NO\r\n", b"other OK done\r\n", b"+ go\r\n", b"* OK\r\n" * 200],
    )
    def test_no_capabilities_no_provider(self, answer: bytes) -> None:
        opening = Opening(starttls=False)
        opening.receive(b"* OK hello\r\n")
        with pytest.raises(DialError) as error:
            steps(opening, cut(answer * 2, [len(answer)]))
        assert error.value.failure is Failure.PROTOCOL


class TestStartTls:
    def opened(self) -> Opening:
        opening = Opening(starttls=True)
        assert opening.receive(GREETING) == Send(b"onrecord STARTTLS\r\n")
        return opening

    def test_what_was_said_in_clear_is_forgotten(self) -> None:
        opening = self.opened()
        octets = b"* CAPABILITY IMAP4rev1 AUTH=EVIL\r\n* LIST () NIL x\r\nonrecord OK begin\r\n"
        assert steps(opening, singly(octets)) == [StartTls()]
        assert opening.secured() == Send(b"onrecord CAPABILITY\r\n")
        answer = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nonrecord OK done\r\n"
        assert steps(opening, [answer]) == [Opened(b"IMAP4rev1 AUTH=PLAIN", None)]

    @pytest.mark.parametrize("answer", [b"onrecord NO\r\n", b"onrecord BAD What?\r\n"])
    def test_a_provider_without_it_gets_no_login(self, answer: bytes) -> None:
        with pytest.raises(DialError) as error:
            self.opened().receive(answer)
        assert error.value.failure is Failure.NO_STARTTLS

    @pytest.mark.parametrize(
        "injected",
        [b"* CAPABILITY AUTH=PLAIN\r\nb OK done\r\n", b"* CAPABILITY AUTH=PLAIN", b"* BYE\r\n", b"\r\n", b"\x15"],
    )
    def test_octets_behind_the_answer_end_it(self, injected: bytes) -> None:
        for chunks in ([b"onrecord OK begin\r\n" + injected], [b"onrecord OK begin\r\n", injected]):
            with pytest.raises(DialError) as error:
                steps(self.opened(), chunks)
            assert error.value.failure is Failure.TLS_BROKEN

    def test_preauth_does_not_avert_it(self) -> None:
        with pytest.raises(DialError) as error:
            Opening(starttls=True).receive(b"* PREAUTH welcome\r\n")
        assert error.value.failure is Failure.PROTOCOL

    def test_capabilities_in_clear_do_not_stand_for_those_that_are_not_told_afterwards(self) -> None:
        opening = self.opened()
        opening.receive(b"* CAPABILITY IMAP4rev1\r\nonrecord OK begin\r\n")
        opening.secured()
        with pytest.raises(DialError):
            opening.receive(b"onrecord OK done\r\n")
