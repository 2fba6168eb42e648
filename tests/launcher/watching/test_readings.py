"""What the kernel and the scoreboard tell of a worker: real processes, a real scoreboard."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reuseport.launcher.deciding.burden import Reading
from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.rebalancing import Rebalancing
from reuseport.launcher.deciding.slots import Worker
from reuseport.launcher.watching.readings import Readings, awake
from reuseport.scoreboard import COUNTERS, DESKS, ROW_WORDS, Desk, Scoreboard, SlotWord
from tests.conftest import PATIENCE


def test_who_works_is_awake_and_who_waits_is_not() -> None:
    before = awake(os.getpid())
    if before is None:
        pytest.skip("not supported: the kernel keeps no /proc/PID/schedstat")
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    after = awake(os.getpid())
    assert after is not None
    # The kernel counts at its ticks, which may be ten milliseconds apart.
    assert after - before > 0.15e9
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as waiting:
        asleep = awake(waiting.pid)
        assert asleep is not None
        waiting.communicate(b"\n", timeout=PATIENCE)


def test_of_nobody_nothing_is_known() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(PATIENCE)
    assert awake(gone.pid) is None


@pytest.fixture
def scoreboard() -> Iterator[Scoreboard]:
    with contextlib.closing(Scoreboard.create(2)) as made:
        yield made


def ready() -> Worker:
    return Worker(7, 1, 1, 1, Reason.START, 0.0, phase=Phase.READY)


@pytest.mark.parametrize("active", [0, 3])
def test_a_reading_has_the_words_of_the_workers_own_desk(scoreboard: Scoreboard, active: int) -> None:
    readings = Readings(scoreboard)
    readings.sit(1, 1)
    desk = scoreboard.desk(1, 1)
    for word in Desk:
        desk[word] = 100 + word
    desk[Desk.ACTIVE] = active
    del desk
    reading = readings.of(ready(), os.getpid())
    assert (reading.awake is not None) is (active > 0 and awake(os.getpid()) is not None)
    assert replace(reading, awake=None) == Reading(
        worker=7,
        ready=True,
        rests=False,
        heartbeat=100 + Desk.HEARTBEAT,
        load=100 + Desk.LOAD,
        work=100 + Desk.WORK,
        requests=100 + Desk.REQUESTS,
        cpu=100 + Desk.CPU,
        lag=100 + Desk.LAG,
        active=active,
        rebalanced=100 + Desk.REBALANCED,
        awake=None,
    )


def test_who_leaves_or_is_stuck_or_stalled_is_not_ready(scoreboard: Scoreboard) -> None:
    for changed in ({"leaving": True}, {"stuck_at": 1.0}, {"phase": Phase.STALLED}):
        worker = ready()
        for name, value in changed.items():
            setattr(worker, name, value)
        assert not Readings(scoreboard).of(worker, os.getpid()).ready


# ── whatever stands there ─────────────────────────────────────────────────────────────────────────────

LARGEST = 2**64 - 1
WORDS = (
    st.sampled_from([0, 1, 2**31, 2**53 + 1, 2**63, LARGEST]) | st.integers(0, LARGEST) | st.integers(0, 99)
)


class Clock:
    """CLOCK_MONOTONIC, told to go on."""

    def __init__(self) -> None:
        self.now = 10**15

    def __call__(self) -> int:
        return self.now


def scribble(scoreboard: Scoreboard, slot: int, desk: int, word: int, value: int) -> None:
    scoreboard.desk(slot, desk)[word] = value


@pytest.mark.parametrize("word", [word for word in Desk if word is not Desk.SETTLED])  # the kernel's to read
@pytest.mark.parametrize("found", [LARGEST, 2**63, 2**63 + 1])
def test_no_word_is_believed_that_no_worker_can_reach(scoreboard: Scoreboard, word: Desk, found: int) -> None:
    readings = Readings(scoreboard)
    readings.sit(0, 0)
    scribble(scoreboard, 0, 0, word, found)
    for _ in range(3):
        assert readings.word(0, 0, word) == 0
    assert (readings.doubts, readings.doubted) == ({0: 1}, {0: word.name}), "once for what stands there still"


def test_what_grows_never_runs_backwards_and_is_believed_again_when_it_has_grown(
    scoreboard: Scoreboard,
) -> None:
    readings = Readings(scoreboard)
    readings.sit(0, 0)
    for found, believed in [(7, 7), (3, 7), (LARGEST, 7), (8, 8)]:
        scribble(scoreboard, 0, 0, Desk.REQUESTS, found)
        assert readings.word(0, 0, Desk.REQUESTS) == believed
        assert readings.counters(0, 0)[COUNTERS.index(Desk.REQUESTS)] == believed
    assert readings.doubts[0] == 2


def test_what_goes_up_and_down_is_believed_down_to_0(scoreboard: Scoreboard) -> None:
    readings = Readings(scoreboard)
    readings.sit(0, 0)
    for found, believed in [(7, 7), (3, 3), (LARGEST, 0), (3, 3), (0, 0)]:
        scribble(scoreboard, 0, 0, Desk.CONNECTIONS, found)
        assert readings.word(0, 0, Desk.CONNECTIONS) == believed


def test_a_heartbeat_of_the_future_is_none(scoreboard: Scoreboard) -> None:
    clock = Clock()
    readings = Readings(scoreboard, clock)
    readings.sit(0, 0)
    for found, believed in [(clock.now, clock.now), (clock.now + 1, clock.now), (5, clock.now)]:
        scribble(scoreboard, 0, 0, Desk.HEARTBEAT, found)
        assert readings.word(0, 0, Desk.HEARTBEAT) == believed


def test_a_worker_uses_no_more_cpus_than_there_are(scoreboard: Scoreboard) -> None:
    clock = Clock()
    readings = Readings(scoreboard, clock)
    readings.sit(0, 0)
    clock.now += 60 * 10**9
    busy = 60 * 10**9 * os.sysconf("SC_NPROCESSORS_CONF")
    for found, believed in [(busy, busy), (3 * busy + 10**11, busy)]:
        scribble(scoreboard, 0, 0, Desk.CPU, found)
        assert readings.word(0, 0, Desk.CPU) == believed


def test_what_the_kernel_assigned_only_grows(scoreboard: Scoreboard) -> None:
    readings = Readings(scoreboard)
    for found, believed in [(9, 9), (LARGEST, 9), (2, 9), (10, 10)]:
        scoreboard.slot(1)[SlotWord.ASSIGNED] = found
        assert readings.assigned(1) == believed
    assert readings.doubts[1] == 2


def test_who_sits_down_begins_at_0_and_who_is_gone_has_nothing(scoreboard: Scoreboard) -> None:
    readings = Readings(scoreboard)
    scribble(scoreboard, 1, 0, Desk.REQUESTS, 5)
    scribble(scoreboard, 1, 1, Desk.REQUESTS, 6)
    assert readings.word(1, 0, Desk.REQUESTS) == 0, "nobody sits there"
    assert not any(readings.counters(1, 0))
    readings.sit(1, 0)
    assert set(scoreboard.desk(1, 0)) == {0}
    assert scoreboard.word(1, 1, Desk.REQUESTS) == 6, "the other desk is left alone"
    scribble(scoreboard, 1, 0, Desk.REQUESTS, 2)
    assert sum(readings.leave(1, 0)) == 2
    assert set(scoreboard.desk(1, 0)) == {0}
    scribble(scoreboard, 1, 0, Desk.REQUESTS, 9)
    assert readings.word(1, 0, Desk.REQUESTS) == 0
    assert not any(readings.leave(1, 0))


STORES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, DESKS - 1), st.integers(0, ROW_WORDS - 1), WORDS), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(STORES, st.integers(1, 10**9)), min_size=4, max_size=20))
def test_whatever_is_written_rebalancing_gets_figures_that_can_be(
    rounds: list[tuple[list[tuple[int, ...]], int]],
) -> None:
    """Its arithmetic divides by differences of them."""
    clock, rebalancing = Clock(), Rebalancing()
    with contextlib.closing(Scoreboard.create(2)) as board:
        readings = Readings(board, clock)
        workers = [Worker(7 + slot, slot, 0, 1, Reason.START, 0.0, phase=Phase.READY) for slot in range(2)]
        for slot in range(2):
            readings.sit(slot, 0)
        last: dict[int, Reading] = {}
        for stores, pause in rounds:
            clock.now += pause
            for store in stores:
                scribble(board, *store)
            # No process has this number: its thread's time is not known.
            seen = {worker.slot: readings.of(worker, -1) for worker in workers}
            for slot, reading in seen.items():
                before = last.get(slot, reading)
                assert before.heartbeat <= reading.heartbeat <= clock.now
                assert before.cpu <= reading.cpu
                assert before.requests <= reading.requests
                assert before.work <= reading.work
                assert 0 <= reading.load < 2**31
            last = seen
            for move in rebalancing.look(seen, clock.now):
                assert move.count > 0


def test_who_rests_has_said_so_and_has_nothing_to_do(scoreboard: Scoreboard) -> None:
    readings = Readings(scoreboard)
    readings.sit(1, 1)
    assert not readings.rests(1, 1)
    scribble(scoreboard, 1, 1, Desk.RESTING, 1)
    assert readings.rests(1, 1)
    scribble(scoreboard, 1, 1, Desk.LOAD, 1)
    assert not readings.rests(1, 1)
