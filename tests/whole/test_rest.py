"""Nothing to do costs nothing: who rests is woken once a second, and by who comes, and still is watched."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

from tests.conftest import PATIENCE, Launch

WAKES = 4
"""In a second, by a worker or the launcher: what is due, and a slip of a timer."""


def wakes(pid: int) -> int:
    """How often all threads of a process have been put to sleep, ever (proc_pid_status(5))."""
    return sum(
        int(line.split()[1])
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if line.startswith("voluntary_ctxt_switches")
    )


def rest(pids: Collection[int]) -> None:
    """Until each of them has been woken a few times only in one and the same second."""
    deadline = time.monotonic() + PATIENCE
    while True:
        before = {pid: wakes(pid) for pid in pids}
        time.sleep(1.0)
        woken = {pid: wakes(pid) - before[pid] for pid in pids}
        if max(woken.values()) <= WAKES:
            return
        assert time.monotonic() < deadline, woken


def ask(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    return status


def test_who_has_nothing_to_do_is_not_woken(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "3", "--limit-max-requests", "1000").ready(3)
    everybody = [server.pid, *server.workers().values()]
    rest(everybody)
    for _ in range(20):
        assert ask(server.port) == 200
    rest(everybody)
    assert server.stop() == 0


def test_who_rests_and_wakes_no_more_is_stood_in_for_and_told_of(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    workers = server.workers()
    rest([server.pid, *workers.values()])
    os.kill(workers[0], signal.SIGSTOP)
    # Some of them are given to the slot that stands still, whatever the balance.
    began = time.monotonic()
    for _ in range(20):
        assert ask(server.port) == 200
    assert time.monotonic() - began < PATIENCE / 2
    server.wait_for(r"event loop in slot 0 has been silent for")
    os.kill(workers[0], signal.SIGCONT)
    server.wait_for(r"event loop in slot 0 turns again")
    assert server.workers() == workers
    assert server.stop() == 0
