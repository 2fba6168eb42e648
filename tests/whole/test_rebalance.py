"""Live connections move from busy workers to idle ones, and no client notices: the real command and load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import pytest

from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import EXITED, GET, wait_until
from tests.whole.traffic import wait_for_lines

pytestmark = pytest.mark.alone
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
HASH = ("--balance", "hash", "--no-access-log")
"""Connections come to workers as they like, so that a test can choose among them."""
LATER = 5
"""Niceness: a third of a client's share of a CPU (sched(7))."""
MOST = 2048
"""Connections tried until enough have come to one worker."""


@dataclass(eq=False)
class Client:
    """One connection, opened to the end of the test. It asks, and again as soon as it is answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    slot: int = -1
    answers: int = 0
    visited: list[int] = field(default_factory=list)
    error: str = ""

    async def ask(self, path: str = "/") -> None:
        """One request. Raises OSError, EOFError, TimeoutError."""
        self.writer.write(GET.replace(b"/", path.encode(), 1))
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 200 "), head
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        slot = int(json.loads(await self.reader.readexactly(length))["slot"])
        if slot != self.slot:
            self.slot = slot
            self.visited.append(slot)
        self.answers += 1

    async def ask_until(self, over: threading.Event, path: str) -> None:
        try:
            while not over.is_set():
                await self.ask(path)
        except (OSError, EOFError, TimeoutError) as error:
            self.error = repr(error)
        finally:
            self.writer.close()


class Pool:
    """Clients in an event loop of their own, those that `groups` name: how many that come to the same slot,
    and what they ask for.
    """

    def __init__(self, port: int, groups: Sequence[tuple[int, str]]) -> None:
        self.clients: list[Client] = []
        self._port = port
        self._groups = groups
        self._asking, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        chosen = await self._choose()
        self.clients = [client for client, _ in chosen]
        self._asking.set()
        await asyncio.gather(*(client.ask_until(self._over, path) for client, path in chosen))

    async def _choose(self) -> list[tuple[Client, str]]:
        """Open connections until each group is complete, in a slot of its own; close the others."""
        by_slot: defaultdict[int, list[Client]] = defaultdict(list)
        sizes = sorted((count for count, _ in self._groups), reverse=True)
        while True:
            fullest = sorted(by_slot.values(), key=len, reverse=True)
            if len(fullest) >= len(sizes) and all(map(int.__ge__, map(len, fullest), sizes)):
                break
            assert sum(map(len, fullest)) < MOST, {slot: len(each) for slot, each in by_slot.items()}
            opened = [
                Client(*await asyncio.open_connection("127.0.0.1", self._port)) for _ in range(8 * len(sizes))
            ]
            for client in opened:
                await client.ask()
                by_slot[client.slot].append(client)
        groups = sorted(self._groups, reverse=True)
        chosen = [
            (client, path)
            for (count, path), each in zip(groups, fullest, strict=False)
            for client in each[:count]
        ]
        kept = {client for client, _ in chosen}
        for client in (one for each in fullest for one in each if one not in kept):
            client.writer.close()
        return chosen

    def counts(self) -> list[int]:
        """How many connections each slot has that has any, by the last answers, most first."""
        return sorted(
            Counter(client.slot for client in self.clients if not client.error).values(), reverse=True
        )

    def errors(self) -> list[str]:
        return [client.error for client in self.clients if client.error]

    def wait_for(self, counts: list[int]) -> None:
        """Until they are on so many slots, and on each so many; or one has failed."""
        wait_until(
            lambda: self.counts() == counts or bool(self.errors()), lambda: (self.counts(), self.errors())
        )

    def wait_for_more(self, each: int) -> list[int]:
        """Until every client that has no error has so many answers more; how many it were."""
        before = [client.answers for client in self.clients]

        def more() -> list[int]:
            return [client.answers - first for client, first in zip(self.clients, before, strict=True)]

        wait_until(
            lambda: all(
                count >= each or client.error for count, client in zip(more(), self.clients, strict=True)
            ),
            lambda: (more(), self.errors()),
        )
        return more()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._asking.wait(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(PATIENCE)


def start(launch: Launch, workers: int, *flags: str) -> Launched:
    """Workers that wait for a CPU rather than for their clients: what is uneven is so all the time, also
    where other tests use the CPUs up.
    """
    server = launch("laborious:app", "--workers", str(workers), *HASH, *flags).ready(workers)
    stand_back(server)
    return server


def stand_back(server: Launched) -> None:
    """Have all its workers do so, also those that are new."""
    for pid in server.workers().values():
        os.setpriority(os.PRIO_PROCESS, pid, LATER)


@LOOPS
def test_16_connections_on_one_of_8_workers_become_two_on_each(launch: Launch, loop: str) -> None:
    server = start(launch, 8, "--loop", loop)
    with Pool(server.port, [(16, "/burn?ms=2")]) as pool:
        pool.wait_for([2] * 8)
        pool.wait_for_more(20)
        assert pool.errors() == []
        assert all(len(client.visited) <= 4 for client in pool.clients), "none is pushed around"
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_connections_of_unequal_cost_are_answered_equally_often(launch: Launch, http: str) -> None:
    server = start(launch, 2, "--http", http)
    with Pool(server.port, [(8, "/burn?ms=2"), (8, "/burn?ms=8")]) as pool:
        deadline = time.monotonic() + PATIENCE
        while True:
            answered = pool.wait_for_more(15)
            if max(answered) <= 1.25 * sum(answered) / len(answered):
                break
            assert time.monotonic() < deadline, (answered, pool.counts())
        assert pool.errors() == []
    assert server.stop() == 0


def test_off_means_off(launch: Launch) -> None:
    server = start(launch, 2, "--no-rebalance")
    begun = time.monotonic()
    with Pool(server.port, [(8, "/burn?ms=2")]) as pool:
        while time.monotonic() < begun + 3:  # six times what it takes where it is on
            pool.wait_for_more(20)
        assert {len(client.visited) for client in pool.clients} == {1}
        assert pool.counts() == [8]
        assert pool.errors() == []
    assert server.stop() == 0


def test_a_reload_under_a_pool_that_moves(launch: Launch) -> None:
    server = start(launch, 4)
    with Pool(server.port, [(8, "/burn?ms=2")]) as pool:
        for generation in (2, 3):
            server.signal(signal.SIGHUP)
            server.wait_for(f"generation {generation} serves in every slot")
        wait_for_lines(server, EXITED, 8)
        # While workers come and go some moves miss their aim, and the way back is barred for a while.
        wait_until(lambda: len(pool.counts()) == 4 and max(pool.counts()) <= 3)
        pool.wait_for_more(20)
        assert pool.errors() == []
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("who", ["gives", "takes"])
def test_a_worker_that_dies_takes_only_what_it_has(launch: Launch, who: str) -> None:
    server = start(launch, 4)
    with Pool(server.port, [(16, "/burn?ms=2")]) as pool:
        first = pool.clients[0].slot
        wait_until(lambda: len(pool.counts()) > 1)
        doomed = first if who == "gives" else next(c.slot for c in pool.clients if c.slot != first)
        os.kill(server.workers()[doomed], signal.SIGKILL)
        server.wait_for(f"slot {doomed} is ready .* reason: crash")
        stand_back(server)
        pool.wait_for_more(20)
        assert 0 < len(pool.errors()) < 16
        # One that it had just been given was answered last by who gave it.
        assert {client.slot for client in pool.clients if client.error} <= {doomed, first}
        # It may have had nearly all.
        wait_until(
            lambda: len(pool.counts()) == min(4, 16 - len(pool.errors())),
            lambda: (pool.counts(), pool.errors()),
        )
    assert server.stop() == 0


def test_a_stopped_worker_takes_nothing_until_it_goes_on(launch: Launch) -> None:
    server = start(launch, 3)
    with Pool(server.port, [(12, "/burn?ms=2")]) as pool:
        busy = pool.clients[0].slot
        stopped = next(slot for slot in range(3) if slot != busy)
        os.kill(server.workers()[stopped], signal.SIGSTOP)
        pool.wait_for([6, 6])
        pool.wait_for_more(50)
        assert len(pool.counts()) == 2  # even or not: on a busy machine one of the two may be the slower
        os.kill(server.workers()[stopped], signal.SIGCONT)
        pool.wait_for([4, 4, 4])
        assert pool.errors() == []
    assert server.stop() == 0
