"""A leaving worker passes all on that is idle, and goes on turning meanwhile, however many that are."""

from __future__ import annotations

import asyncio
import socket

import pytest

from reuseport.scoreboard import Desk
from reuseport.worker import departure
from reuseport.worker.departure import Departure
from tests.worker.protocol.test_connection import PATIENCE
from tests.worker.test_rebalancing import passed, serving

NUMBER = 12


async def depart(worker_count: int, room: int | None) -> tuple[list[int], int]:
    """How many were in the inbox when we looked, once a turn of the loop, and how many found no room."""
    counts: list[int] = []
    async with serving("httptools", worker_count) as worker:
        config = worker.connections[0].protocol.config
        mine, heir = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine.setblocking(False)
        if room is not None:
            heir.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        with mine:
            leaving = Departure(worker.state, [heir.detach()], worker.desk, final=False)
            leaving.begin(asyncio.get_running_loop(), config)
            refused = worker.desk[Desk.HANDOFFS_REFUSED]
            async with asyncio.timeout(PATIENCE):
                while sum(counts) < worker_count:
                    counts.append(passed(mine))
                    await asyncio.sleep(0)
            leaving.end()
    return counts, refused


def test_a_slice_in_each_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "SLICE", 0.0)
    counts, _ = asyncio.run(depart(NUMBER, None))
    assert max(counts) == 1
    assert sum(counts) == NUMBER


def test_who_finds_no_room_spares_the_others_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "SLICE", PATIENCE)
    counts, refused = asyncio.run(depart(NUMBER, 1))
    assert 1 <= counts[0] < NUMBER, "the least that a socket's buffer can be holds a few"
    assert refused == 1
    assert sum(counts) == NUMBER
