"""What is remembered of messages that were seen: the truth, as long as there is room, and never an untruth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.imap.watch import Place
from proxy.seen import SeenMessages

INBOX = Place("INBOX", 7, None)


@given(st.lists(st.integers(1, 40)))
def test_messages_are_remembered_in_any_order(uids: list[int]) -> None:
    seen = SeenMessages()
    for number, uid in enumerate(uids):
        assert seen.has("ann", INBOX, uid) == (uid in uids[:number])
        seen.add("ann", INBOX, uid)
    assert {uid for uid in range(42) if seen.has("ann", INBOX, uid)} == set(uids)
    assert len(seen) == sum(1 for uid in set(uids) if uid - 1 not in uids)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 30))), st.integers(0, 6))
def test_never_more_is_remembered_than_there_is_room_and_never_what_was_not_seen(
    messages: list[tuple[str, int]], most: int
) -> None:
    seen = SeenMessages(most)
    for number, (login, uid) in enumerate(messages):
        seen.add(login, INBOX, uid)
        assert len(seen) <= most
        found = {(login, uid) for login in "abc" for uid in range(32) if seen.has(login, INBOX, uid)}
        assert found <= set(messages[: number + 1])


def test_a_mailbox_that_is_read_from_end_to_end_takes_one_place() -> None:
    seen = SeenMessages(1)
    for uid in range(1, 5001):
        seen.add("ann", INBOX, uid)
    assert len(seen) == 1
    assert all(seen.has("ann", INBOX, uid) for uid in (1, 2500, 5000))


def test_the_mailbox_that_was_used_last_is_forgotten_last() -> None:
    seen = SeenMessages(2)
    for login in ("ann", "bob", "ann", "cy"):
        seen.add(login, INBOX, 1)
    assert [login for login in ("ann", "bob", "cy") if seen.has(login, INBOX, 1)] == ["ann", "cy"]


def test_another_mailbox_login_or_validity_is_another_message() -> None:
    seen = SeenMessages()
    seen.add("ann", INBOX, 5)
    assert not seen.has("bob", INBOX, 5)
    assert not seen.has("ann", Place("Work", 7, None), 5)
    assert not seen.has("ann", Place("INBOX", 8, None), 5)


def test_a_mailbox_without_validity_is_not_remembered() -> None:
    seen = SeenMessages()
    seen.add("ann", Place("INBOX", None, None), 5)
    assert not seen.has("ann", Place("INBOX", None, None), 5)
    assert len(seen) == 0
