"""What workers have counted, as the launcher tells it, also after they died."""

from __future__ import annotations

import os
import signal

import psutil

from tests.admin.asking import Control
from tests.conftest import Launch, Launched
from tests.whole.lines import Line, lives, wait_until


def test_what_a_worker_counted_outlives_it(launch: Launch) -> None:
    server = launch("plain:app", "--balance", "hash", "--no-access-log").ready(1)
    control = Control(server)
    ask(server, 10)
    worker = psutil.Process(server.workers()[0])
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not lives(worker))
    ask(server, 10)
    # A status is given to everybody who asks within a moment.
    wait_until(lambda: control.status()["slots"][0]["responses"]["2xx"] == 20)
    (slot,) = control.status()["slots"]
    assert sum(slot["durations"]["counts"]) == 20
    assert slot["durations"]["sum"] > 0
    assert slot["implausible"] == 0
    assert server.stop() == 0


def ask(server: Launched, times: int) -> None:
    with Line(server.port) as line:
        for _ in range(times):
            assert line.ask().status == 200
