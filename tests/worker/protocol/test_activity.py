"""Which connections count as active: as clients ask and leave, against a clock that the test moves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from reuseport.worker.protocol.activity import LEAST, MOST, NEVER, Activity


class Connection:
    round = NEVER


class Worker:
    """An activity, and the answers that it is told of as a protocol would."""

    def __init__(self) -> None:
        self.activity = Activity()
        self.now = 1000.0
        self.answers = 0
        self.activity.turn(self.now, 0)

    def answer(self, *connections: Connection) -> None:
        for connection in connections:
            self.answers += 1
            if connection.round != self.activity.round:
                self.activity.note(connection)

    def after(self, seconds: float) -> int:
        """How many are active then."""
        self.now += seconds
        self.activity.turn(self.now, self.answers)
        return self.activity.active


def test_who_asks_all_the_time_is_counted_once() -> None:
    worker, one, other = Worker(), Connection(), Connection()
    for _ in range(20):
        worker.answer(one, other, one)
        assert worker.after(LEAST / 2) == 2


def test_who_falls_silent_is_forgotten_while_others_go_on() -> None:
    worker, one, silent = Worker(), Connection(), Connection()
    worker.answer(one, silent)
    seen = []
    for _ in range(4):
        worker.answer(one, one, one)
        seen.append(worker.after(LEAST))
    assert seen[0] == 2
    assert seen[-1] == 1


def test_who_waits_for_more_than_a_second_is_counted_all_the_same() -> None:
    worker, slow = Worker(), [Connection() for _ in range(8)]
    seen = []
    for connection in slow * 4:
        worker.answer(connection)
        seen.append(worker.after(0.2))
    assert set(seen[len(slow) :]) == {len(slow)}


def test_when_all_fall_silent_nobody_is_active_after_two_rounds() -> None:
    worker = Worker()
    worker.answer(*(Connection() for _ in range(5)))
    assert worker.after(MOST) == 5
    assert worker.after(LEAST) == 0


def test_who_is_gone_does_not_count_and_may_be_told_twice() -> None:
    worker, one, other, never = Worker(), Connection(), Connection(), Connection()
    worker.answer(one, other)
    worker.activity.lose(one)
    worker.activity.lose(one)
    worker.activity.lose(never)
    assert worker.activity.active == 1
    worker.after(MOST)
    worker.activity.lose(other)
    assert worker.activity.active == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["answer", "lose", "turn"])), max_size=80))
def test_it_is_what_counting_anew_would_say(steps: list[tuple[int, str]]) -> None:
    worker, connections = Worker(), [Connection() for _ in range(6)]
    for index, step in steps:
        match step:
            case "answer":
                worker.answer(connections[index])
            case "lose":
                worker.activity.lose(connections[index])
                connections[index] = Connection()
            case "turn":
                worker.after(0.1 * index)
        now = worker.activity.round
        assert worker.activity.active == sum(one.round in (now, now - 1) for one in connections)
