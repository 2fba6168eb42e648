"""Orphans the launcher inherits as PID 1. Each test runs in a process of its own: reaping spares no child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PRELUDE = """
import os
from reuseport.launcher.watching.strays import reap

def dead(count=1):
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(5)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
        pids.append(pid)
    return pids

def alive():
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_end)
        os.read(read_end, 1)
        os._exit(0)
    os.close(read_end)
    return pid

def zombie(pid):
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False

"""


def passes(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_without_children_there_is_nothing_to_do() -> None:
    passes("assert reap([]) == []")


def test_every_stray_is_reaped() -> None:
    passes("strays = dead(20)\nassert reap([]) == []\nassert not any(map(zombie, strays))")


def test_the_living_are_left_alone() -> None:
    passes(
        "pid = alive()\nstray, = dead()\nassert reap([pid]) == []\nassert not zombie(stray)\nos.kill(pid, 0)"
    )


def test_a_dead_worker_is_told_of_and_left_to_its_owner() -> None:
    passes("worker, = dead()\nassert reap([worker]) == [worker]\nassert zombie(worker)")


def test_asked_again_after_each_worker_it_reaps_whoever_is_behind() -> None:
    passes(
        """
first = dead(3)
workers = dead(2)
last = dead(3)
told = []
while found := reap(set(workers) - set(told)):
    assert set(found) <= set(workers)
    for pid in found:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
        told.append(pid)
assert sorted(told) == sorted(workers)
assert not any(map(zombie, [*first, *last]))
"""
    )
