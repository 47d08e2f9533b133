"""The client gets its replies in the order of its commands, whoever answers them and whenever."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proxy.smtp.reply import Reply
from proxy.smtp.reply_queue import Place, ReplyQueue


class Interleavings(RuleBasedStateMachine):
    """Commands numbered as they come; each is answered by us, by the provider (in order), or later by somebody else."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[int] = []
        self.queue = ReplyQueue(lambda octets: self.written.append(int(octets)))
        self.asked = 0
        self.answered: set[int] = set()
        self.owed: list[int] = []
        self.reserved: dict[int, Place] = {}
        self.held: dict[int, Place] = {}

    @rule()
    def answer(self) -> None:
        self.queue.answer(b"%d" % self.asked)
        self.answered.add(self.asked)
        self.asked += 1

    @rule()
    def reserve(self) -> None:
        self.reserved[self.asked] = self.queue.reserve()
        self.asked += 1

    @rule()
    def expect(self) -> None:
        self.queue.expect(self.on_reply, self.asked)
        self.owed.append(self.asked)
        self.asked += 1

    @rule()
    def expect_what_is_held(self) -> None:
        self.queue.expect(self.on_reply_held, self.asked)
        self.owed.append(self.asked)
        self.asked += 1

    @rule(code=st.sampled_from([250, 550]))
    def provider_replies(self, code: int) -> None:
        was_owed = bool(self.owed)
        assert self.queue.take(Reply(code, b"")) == was_owed

    @precondition(lambda self: self.reserved)
    @rule(data=st.data())
    def resolve_reserved(self, data: st.DataObject) -> None:
        self.resolve(self.reserved, data.draw(st.sampled_from(sorted(self.reserved))))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def resolve_held(self, data: st.DataObject) -> None:
        self.resolve(self.held, data.draw(st.sampled_from(sorted(self.held))))

    @rule()
    def provider_is_lost(self) -> None:
        lost = self.queue.abandon()
        assert [place.detail for place in lost] == self.owed
        self.owed.clear()
        for place in lost:
            assert isinstance(place.detail, int)
            self.answered.add(place.detail)
            self.queue.resolve(place, b"%d" % place.detail)

    def on_reply(self, place: Place, reply: Reply) -> None:
        number = self.owed.pop(0)
        assert place.detail == number
        self.answered.add(number)
        self.queue.resolve(place, b"%d" % number)

    def on_reply_held(self, place: Place, reply: Reply) -> None:
        number = self.owed.pop(0)
        assert place.detail == number
        if reply.code == 250:
            self.held[number] = place
        else:
            self.queue.retake(place, self.on_reply_held)
            self.owed.insert(0, number)

    def resolve(self, places: dict[int, Place], number: int) -> None:
        place = places.pop(number)
        self.answered.add(number)
        self.queue.resolve(place, b"%d" % number)

    @invariant()
    def replies_are_in_order_and_none_is_kept_back(self) -> None:
        first_open = next((n for n in range(self.asked) if n not in self.answered), self.asked)
        assert self.written == list(range(first_open))
        assert self.queue.is_empty == (first_open == self.asked)

    @invariant()
    def what_is_owed_is_known(self) -> None:
        awaited = self.queue.awaited
        assert (awaited.detail if awaited is not None else None) == (self.owed[0] if self.owed else None)


TestInterleavings = Interleavings.TestCase


def test_awaits_tells_whether_a_reply_of_a_kind_is_owed() -> None:
    queue = ReplyQueue(lambda octets: None)

    def one(place: Place, reply: Reply) -> None:
        queue.resolve(place, b"")

    def other(place: Place, reply: Reply) -> None:
        queue.resolve(place, b"")

    queue.expect(one)
    queue.expect(other)
    assert queue.awaits(one)
    assert queue.awaits(other)
    queue.take(Reply(250, b""))
    assert not queue.awaits(one)
    assert queue.awaits(other)
