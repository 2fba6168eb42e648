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

from reuseport.launcher.deciding.burden import Reading
from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.slots import Worker
from reuseport.launcher.watching.readings import awake, read
from reuseport.scoreboard import Desk, Scoreboard
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
    desk = scoreboard.desk(1, 1)
    for word in Desk:
        desk[word] = 100 + word
    desk[Desk.ACTIVE] = active
    del desk
    reading = read(scoreboard, ready(), os.getpid())
    assert (reading.awake is not None) is (active > 0 and awake(os.getpid()) is not None)
    assert replace(reading, awake=None) == Reading(
        worker=7,
        ready=True,
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
        assert not read(scoreboard, worker, os.getpid()).ready
