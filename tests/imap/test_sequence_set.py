"""Sequence sets name numbers in an order, and none is ever written out whole."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.imap.sequence_set import numbers_of


@pytest.mark.parametrize(
    ("written", "numbers"),
    [("5", [5]), ("5,3", [5, 3]), ("5:7", [5, 6, 7]), ("7:5", [5, 6, 7]), ("1,3:4,2", [1, 3, 4, 2]), ("4:4", [4])],
)
def test_numbers_come_in_their_order(written: str, numbers: list[int]) -> None:
    assert list(numbers_of(written)) == numbers


@pytest.mark.parametrize("written", ["*", "1:*", "$", "", "1,,2", "1:", ":1", "a", "²", "-1", "1:2:3", "9" * 11])
def test_what_names_no_numbers_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="number"):
        list(numbers_of(written))


def test_a_set_of_any_size_is_read_as_far_as_it_is_asked_for() -> None:
    assert list(islice(numbers_of("1:4294967295," * 1000 + "1"), 3)) == [1, 2, 3]


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 5)), min_size=1))
def test_ranges_are_as_many_numbers_as_they_span(ranges: list[tuple[int, int]]) -> None:
    written = ",".join(f"{first}:{first + more}" if more else str(first) for first, more in ranges)
    assert list(numbers_of(written)) == [each for first, more in ranges for each in range(first, first + more + 1)]
