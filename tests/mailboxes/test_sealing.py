"""Sealed values open with their key at their place, and otherwise not."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.secret import Secret
from store.sealing import Sealer, SealingError, SealingKey, key_id_of

OLD, NEW, OTHER = SealingKey.make(), SealingKey.make(), SealingKey.make()


def sealer(*keys: SealingKey) -> Sealer:
    return Sealer(lambda: keys)


@given(st.binary(max_size=5000), st.binary(max_size=200))
def test_what_was_sealed_opens_at_its_place(octets: bytes, place: bytes) -> None:
    assert sealer(OLD).open(sealer(OLD).seal(Secret(octets), place), place).reveal() == octets


@given(st.binary(max_size=100), st.binary(max_size=50), st.binary(max_size=50))
def test_it_does_not_open_at_another_place(octets: bytes, place: bytes, other: bytes) -> None:
    sealed = sealer(OLD).seal(Secret(octets), place)
    if place != other:
        with pytest.raises(SealingError, match="another row"):
            sealer(OLD).open(sealed, other)


@given(st.binary(max_size=64), st.data())
def test_a_single_altered_bit_is_noticed(octets: bytes, data: st.DataObject) -> None:
    sealed = bytearray(sealer(OLD).seal(Secret(octets), b"here"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealingError):
        sealer(OLD).open(bytes(sealed), b"here")


@given(st.binary(max_size=64), st.data())
def test_what_was_cut_or_lengthened_does_not_open(octets: bytes, data: st.DataObject) -> None:
    sealed = sealer(OLD).seal(Secret(octets), b"here")
    cut = data.draw(st.integers(0, len(sealed) - 1))
    for wrong in (sealed[:cut], sealed + b"\0"):
        with pytest.raises(SealingError):
            sealer(OLD).open(wrong, b"here")


@given(st.binary(max_size=100))
def test_octets_that_were_never_sealed_do_not_open(octets: bytes) -> None:
    with pytest.raises(SealingError):
        sealer(OLD).open(octets, b"here")


def test_the_same_secret_is_never_sealed_to_the_same_octets() -> None:
    assert len({sealer(OLD).seal(Secret(b"x"), b"") for _ in range(100)}) == 100


@pytest.mark.parametrize("keys", [(NEW, OLD), (OLD, NEW), (OTHER, NEW, OLD)])
def test_the_first_key_seals_and_every_key_opens(keys: Sequence[SealingKey]) -> None:
    before = sealer(OLD).seal(Secret(b"secret"), b"here")
    assert sealer(*keys).open(before, b"here").reveal() == b"secret"
    assert key_id_of(sealer(*keys).seal(Secret(b"secret"), b"here")) == keys[0].id


def test_a_key_that_is_gone_is_named_with_those_that_are_there_and_the_mend() -> None:
    sealed = sealer(OLD).seal(Secret(b"hunter2"), b"here")
    with pytest.raises(SealingError) as caught:
        sealer(NEW, OTHER).open(sealed, b"here")
    text = str(caught.value)
    assert OLD.id.hex() in text
    assert NEW.id.hex() in text
    assert "backup" in text
    for secret in (b"hunter2".hex(), "hunter2", OLD.text(), NEW.text()):
        assert secret not in text


def test_a_key_that_claims_the_id_of_another_does_not_open() -> None:
    sealed = sealer(OLD).seal(Secret(b"x"), b"here")
    impostor = SealingKey.make()
    object.__setattr__(impostor, "id", OLD.id)
    with pytest.raises(SealingError):
        sealer(impostor).open(sealed, b"here")


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_read_as_it_was_written_and_keeps_its_id(octets: bytes) -> None:
    key = SealingKey(Secret(octets))
    again = SealingKey.parse(key.text())
    assert again.secret.reveal() == octets
    assert again.id == key.id
    assert re.search(key.text(), repr(key) + str(key)) is None


@pytest.mark.parametrize("text", ["", "xyz", "00" * 31, "00" * 33, "zz" * 32, "é" * 64])
def test_what_is_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SealingError) as caught:
        SealingKey.parse(text)
    assert not text or text not in str(caught.value)
