"""What workers have counted, as the launcher sees it: read from its own scoreboard, also after they died."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from reuseport.scoreboard import DURATION_BUCKETS, Desk, Scoreboard
from tests.conftest import Launch, Launched
from tests.whole.lines import Line, lives, wait_until


@contextlib.contextmanager
def scoreboard(server: Launched, slots: int) -> Iterator[Scoreboard]:
    """The launcher's, where the kernel does not steer: a file in memory that it has open."""
    entries = Path(f"/proc/{server.pid}/fd").iterdir()
    path = next(each for each in entries if "reuseport-scoreboard" in str(each.readlink()))
    with contextlib.closing(Scoreboard(os.open(path, os.O_RDWR), slots)) as board:
        yield board


def test_what_a_worker_counted_outlives_it(launch: Launch) -> None:
    server = launch("plain:app", "--balance", "hash", "--no-access-log").ready(1)
    with scoreboard(server, 1) as board:
        ask(server, 10)
        worker = psutil.Process(server.workers()[0])
        os.kill(worker.pid, signal.SIGKILL)
        wait_until(lambda: not lives(worker))
        ask(server, 10)
        assert board.total(0, Desk.RESPONSES_2XX) == 20
        assert sum(board.total(0, word) for word in DURATION_BUCKETS) == 20
        assert board.total(0, Desk.DURATION_SUM) > 0
    assert server.stop() == 0


def ask(server: Launched, times: int) -> None:
    with Line(server.port) as line:
        for _ in range(times):
            assert line.ask().status == 200
