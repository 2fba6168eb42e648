"""What a worker says it has to do, at each step of a connection's life; and which assignments it settles."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reuseport.scoreboard import ROW_WORDS, Desk, SlotWord
from reuseport.worker.protocol.load import FRESH, Load


class Worker:
    """A load, and the words it writes and reads."""

    def __init__(self) -> None:
        self.desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
        self.row = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
        self.load = Load(self.desk, self.row)

    def assign(self, number: int = 1) -> None:
        self.row[SlotWord.ASSIGNED] += number

    def arrive(self) -> asyncio.Protocol:
        connection = asyncio.Protocol()
        self.load.arrive(connection, assigned=True)
        return connection

    @property
    def owed(self) -> int:
        """What the steering program takes for the worker's load."""
        return self.desk[Desk.LOAD] + max(0, self.row[SlotWord.ASSIGNED] - self.desk[Desk.SETTLED])


def test_a_connection_counts_once_from_its_assignment_to_its_answer() -> None:
    worker = Worker()
    worker.assign()
    assert worker.owed == 1
    connection = worker.arrive()
    assert worker.owed == 1
    worker.load.ask(connection, "task")
    assert worker.owed == 1
    worker.load.discard("task")
    assert worker.owed == 0
    assert worker.desk[Desk.ACCEPTED] == worker.desk[Desk.SETTLED] == 1


def test_who_goes_without_a_word_counts_no_more() -> None:
    worker = Worker()
    connection = worker.arrive()
    worker.load.leave(connection)
    worker.load.leave(connection)
    assert worker.desk[Desk.LOAD] == 0


def test_who_stays_silent_is_forgotten_at_the_second_call() -> None:
    worker = Worker()
    worker.arrive()
    worker.load.forget()
    worker.arrive()
    assert worker.desk[Desk.LOAD] == 2
    worker.load.forget()
    assert worker.desk[Desk.LOAD] == 1
    worker.load.forget()
    assert worker.desk[Desk.LOAD] == 0


def test_what_others_assigned_is_load_but_settles_nothing() -> None:
    worker = Worker()
    worker.load.arrive(asyncio.Protocol(), assigned=False)
    assert (worker.desk[Desk.LOAD], worker.desk[Desk.ACCEPTED], worker.desk[Desk.SETTLED]) == (1, 1, 0)


def test_work_is_the_time_of_each_request_added_up() -> None:
    worker = Worker()
    for task in range(3):
        worker.load.add(task)
    worker.load.beat()
    before, began = worker.desk[Desk.WORK], worker.desk[Desk.HEARTBEAT]
    worker.load.beat()
    assert worker.desk[Desk.WORK] - before == 3 * (worker.desk[Desk.HEARTBEAT] - began)
    for task in range(3):
        worker.load.discard(task)
    worker.load.beat()
    idle = worker.desk[Desk.WORK]
    worker.load.beat()
    assert worker.desk[Desk.WORK] == idle


def test_work_is_of_the_heartbeats_moment_and_both_are_renewed_while_requests_come_and_go() -> None:
    worker = Worker()
    worker.load.beat()
    before = worker.desk[Desk.HEARTBEAT]
    begun = worker.load.begin("long")
    pairs = {(worker.desk[Desk.HEARTBEAT], worker.desk[Desk.WORK])}
    while time.monotonic_ns() < begun + 3 * FRESH:
        worker.load.begin("short")
        assert worker.desk[Desk.LOAD] == 2
        worker.load.end("short", time.monotonic_ns())
        assert worker.desk[Desk.LOAD] == 1
        pairs.add((worker.desk[Desk.HEARTBEAT], worker.desk[Desk.WORK]))
    assert {heartbeat for heartbeat, _ in pairs} > {before}
    for heartbeat, work in pairs:
        # The long one's time so far, and at most as much of the short ones'.
        assert max(0, heartbeat - begun) <= work <= 2 * max(0, heartbeat - begun)


def test_a_request_that_ended_at_a_moment_gone_by_takes_nothing_back() -> None:
    worker = Worker()
    begun = worker.load.begin("first")
    worker.load.begin("second")
    worker.load.beat()
    heartbeat, work = worker.desk[Desk.HEARTBEAT], worker.desk[Desk.WORK]
    worker.load.end("first", begun)
    worker.load.beat()
    assert worker.desk[Desk.WORK] == work + worker.desk[Desk.HEARTBEAT] - heartbeat
    assert worker.desk[Desk.LOAD] == 1


def test_what_comes_after_a_rest_is_told() -> None:
    worker = Worker()
    told: list[int] = []
    worker.load.on_work = lambda: told.append(worker.desk[Desk.LOAD])
    worker.load.beat()
    assert told == []
    worker.arrive()
    assert told == [1]
    worker.load.add("task")
    assert told == [1, 2]
    worker.load.stir()
    assert told == [1, 2, 2]


# ── settling ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_or_shakes_hands_is_not_settled() -> None:
    worker = Worker()
    worker.assign(5)
    worker.load.settle(3)
    assert worker.owed == 5
    # The other two have come meanwhile.
    worker.load.settle(5)
    assert worker.owed == 5


def test_what_never_comes_is_settled_the_second_time() -> None:
    worker = Worker()
    worker.assign(1000)
    worker.load.settle(0)
    worker.load.settle(0)
    assert worker.owed == 0


def test_who_came_by_hash_is_taken_back() -> None:
    worker = Worker()
    for _ in range(10):
        worker.load.leave(worker.arrive())
    worker.load.settle(0)
    worker.assign()
    assert worker.owed == 1


def test_a_successor_starts_with_what_waits() -> None:
    worker = Worker()
    worker.assign(100)
    worker.load.settle_all(7)
    assert worker.owed == 7
    fresh = Worker()
    fresh.load.settle_all(7)  # by hash: nobody has assigned anything
    assert fresh.owed == 0


@pytest.mark.parametrize("scribbled", [0, 2**63, 2**64 - 1])
def test_whatever_others_write_there_it_goes_on(scribbled: int) -> None:
    worker = Worker()
    worker.arrive()
    for words in (worker.desk, worker.row):
        for word in range(len(words)):
            words[word] = scribbled
    worker.load.settle(3)
    worker.load.settle(3)
    worker.load.settle_all(3)
    worker.load.leave(worker.arrive())
    worker.load.add("task")
    worker.load.discard("task")
    assert worker.desk[Desk.ACCEPTED] == 2
    assert worker.desk[Desk.LOAD] == 1


STEPS = st.lists(
    st.sampled_from(["assign", "come", "vanish", "steal", "accept", "hash", "settle"]), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_it_heals_whatever_happened(steps: list[str]) -> None:
    """Handshakes that end or do not, siblings that accept, connections nobody assigned."""
    worker = Worker()
    shaking = waiting = 0
    for step in steps:
        match step:
            case "assign":
                worker.assign()
                shaking += 1
            case "come" if shaking:
                shaking, waiting = shaking - 1, waiting + 1
            case "vanish" if shaking:
                shaking -= 1
            case "steal" if waiting:
                waiting -= 1
            case "accept" if waiting:
                waiting -= 1
                worker.load.leave(worker.arrive())
            case "hash":
                waiting += 1
            case "settle":
                worker.load.settle(waiting)
    # Nobody comes any more, and whoever shook hands has given up: two looks, and it is exact.
    for _ in range(3):
        worker.load.settle(waiting)
    assert worker.owed == min(waiting, worker.row[SlotWord.ASSIGNED])
