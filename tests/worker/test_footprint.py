"""The worker's own look at its memory, in a real event loop and scoreboard."""

from __future__ import annotations

import asyncio
import os
import time

import psutil

from reuseport.scoreboard import Desk, Scoreboard, SlotWord
from reuseport.worker.footprint import WANTED_NS, Memory, pss
from tests.conftest import PATIENCE


def test_it_is_what_psutil_says() -> None:
    ballast = bytearray(os.urandom(2**20) * 16)
    ours = pss()
    theirs = psutil.Process().memory_full_info().pss
    assert 0.8 * theirs < ours < 1.2 * theirs
    assert ours > len(ballast)


async def looked(watched: int) -> int:
    """The word a moment after a look, with somebody having asked at `watched`."""
    scoreboard = Scoreboard.create(1)
    try:
        row, desk = scoreboard.slot(0), scoreboard.desk(0, 1)
        row[SlotWord.WATCHED] = watched
        memory = Memory(desk, row)
        memory.look()
        if memory._reading is not None:
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait([memory._reading])
            await asyncio.sleep(0)
        result = desk[Desk.PSS]
        desk[Desk.PSS] = 1
        memory.look()
        assert memory._reading is None, "it is not read again at once"
    finally:
        for view in (row, desk):
            view.release()
        memory._row.release()
        memory._desk.release()
        scoreboard.close()
    return result


def test_nothing_is_measured_for_nobody() -> None:
    assert asyncio.run(looked(0)) == 0
    assert asyncio.run(looked(time.monotonic_ns() - 2 * WANTED_NS)) == 0


def test_it_is_measured_for_who_asked_lately() -> None:
    assert asyncio.run(looked(time.monotonic_ns())) > 2**20
