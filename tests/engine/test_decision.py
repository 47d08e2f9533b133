"""A decision travels as JSON and comes back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.decision import Attribution, ContactRef, Decision, Direction, Flag, Outcome, Reason, Source, UserRef

ids = st.integers(min_value=1, max_value=2**53)
decisions = st.builds(
    Decision,
    portal=ids,
    source=st.sampled_from(Source),
    outcome=st.sampled_from(Outcome),
    reason=st.sampled_from(Reason),
    direction=st.sampled_from([None, *Direction]),
    contacts=st.lists(st.builds(ContactRef, id=ids, address=st.text(), bcc=st.booleans()), max_size=3).map(tuple),
    user=st.one_of(st.none(), st.builds(UserRef, id=ids, address=st.text())),
    attribution=st.sampled_from([None, *Attribution]),
    flags=st.frozensets(st.sampled_from(Flag)),
    creates=st.lists(st.text(), max_size=3).map(tuple),
)
WRITTEN = Decision(portal=1, source=Source.RELAY, outcome=Outcome.SKIP, reason=Reason.BOUNCE).to_json()


@given(decisions)
def test_what_is_written_is_read(decision: Decision) -> None:
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


@given(decisions)
def test_equal_decisions_are_written_alike(decision: Decision) -> None:
    again = Decision.from_json(decision.to_json())
    assert json.dumps(again.to_json()) == json.dumps(decision.to_json())


def test_what_is_absent_is_left_out() -> None:
    assert WRITTEN == {"portal": 1, "source": "relay", "decision": "skip", "reason": "bounce"}


@pytest.mark.parametrize(
    "change",
    [
        {"portal": None},
        {"portal": "one"},
        {"reason": "because"},
        {"source": "carrier pigeon"},
        {"decision": "maybe"},
        {"direction": "sideways"},
        {"contacts": [[1, "kim@cust.example"]]},
        {"contacts": 7},
        {"user": []},
        {"attribution": "luck"},
        {"flags": ["red"]},
        {"creates": 7},
    ],
)
def test_what_it_did_not_write_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # the value decides which part complains
        Decision.from_json(WRITTEN | change)


@pytest.mark.parametrize("missing", sorted(WRITTEN))
def test_a_missing_part_is_refused(missing: str) -> None:
    with pytest.raises(ValueError, match="not a decision"):
        Decision.from_json({key: value for key, value in WRITTEN.items() if key != missing})
