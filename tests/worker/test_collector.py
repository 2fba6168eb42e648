"""What was there is frozen, and pauses are added up: the real collector, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Launch
from tests.whole.lines import Line

PROGRAM = """
import gc
from reuseport.scoreboard import ROW_WORDS, Desk
from reuseport.worker.collector import Collector

heap = [{"number": [number]} for number in range(100_000)]
circle = []
circle.append(circle)
del circle
desk = memoryview(bytearray(8 * ROW_WORDS)).cast("Q")
collector = Collector(desk)
assert desk[Desk.COLLECTING] == 0
collector.freeze()
first = desk[Desk.COLLECTING]
assert first > 0
assert gc.get_freeze_count() > 200_000
gc.collect()
assert 0 < desk[Desk.COLLECTING] - first < first / 2
heap.clear()
assert gc.get_freeze_count() < 100_000
"""


def test_what_is_frozen_is_not_looked_at_again_and_still_freed() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)


@pytest.mark.parametrize(("flag", "frozen"), [("--gc-freeze", True), ("--no-gc-freeze", False)])
def test_a_worker_freezes_unless_told_not_to(launch: Launch, flag: str, frozen: bool) -> None:
    server = launch("collected:app", flag).ready(1)
    with Line(server.port) as line:
        # Python 3.12 has some hundred frozen by itself.
        assert (int(line.ask("/").body) > 10_000) is frozen
    assert server.stop() == 0
