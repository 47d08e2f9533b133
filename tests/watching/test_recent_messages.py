"""Messages at hand: those that were read last, within their room, as long as their reader is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.imap.watch import Place
from proxy.recent import OVERHEAD, RecentMessage, RecentMessages

INBOX = Place("INBOX", 7, None)
HELLO = RecentMessage(b"Hello.", frozenset())


def recent(most: int = 100_000, *logins: str) -> RecentMessages:
    messages = RecentMessages(most)
    for login in logins or ("ann",):
        messages.enter(login)
    return messages


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 900)),
        st.tuples(st.sampled_from(("enter", "leave")), st.sampled_from("abc"), st.just(0), st.just(0)),
    )
)


@given(steps, st.integers(0, 4000))
def test_the_newest_are_there_as_far_as_there_is_room(steps: list[tuple[str, str, int, int]], most: int) -> None:
    messages = RecentMessages(most)
    there: dict[str, int] = dict.fromkeys("abc", 0)
    kept: dict[tuple[str, int], int] = {}  # by age
    for step, login, uid, size in steps:
        if step == "enter":
            messages.enter(login)
            there[login] += 1
        elif step == "leave" and there[login]:
            messages.leave(login)
            there[login] -= 1
            if not there[login]:
                kept = {key: each for key, each in kept.items() if key[0] != login}
        elif step == "add":
            messages.add(login, INBOX, uid, RecentMessage(b"x" * size, None))
            if there[login] and size + OVERHEAD <= most:
                kept.pop((login, uid), None)
                kept[login, uid] = size
                while sum(each + OVERHEAD for each in kept.values()) > most:
                    del kept[next(iter(kept))]
        found = {
            (login, uid): len(message.octets)
            for login in "abc"
            for uid in range(1, 10)
            if (message := messages.get(login, INBOX, uid)) is not None
        }
        assert found == kept
        assert messages.octets == sum(each + OVERHEAD for each in kept.values())


def test_another_login_mailbox_or_validity_is_another_message() -> None:
    messages = recent(100_000, "ann", "bob")
    messages.add("ann", INBOX, 5, HELLO)
    assert messages.get("ann", INBOX, 5) is HELLO
    assert messages.get("bob", INBOX, 5) is None
    assert messages.get("ann", Place("Work", 7, None), 5) is None
    assert messages.get("ann", Place("INBOX", 8, None), 5) is None
    assert messages.get("ann", INBOX, 6) is None


def test_what_cannot_be_told_from_others_is_not_kept() -> None:
    messages = recent()
    unknown = Place("INBOX", None, None)
    messages.add("ann", unknown, 5, HELLO)
    messages.add("ann", INBOX, None, HELLO)
    messages.add("nobody", INBOX, 5, HELLO)
    assert messages.octets == 0
    assert messages.get("ann", unknown, 5) is None
