"""Whom an idle worker accepts for a sibling, and whom not: real sockets, real loops, a sibling of words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from reuseport.scoreboard import Desk, Scoreboard, SlotWord
from reuseport.worker.stealing import AT_ONCE, MOST, REST, VAIN, Stealing
from tests.worker.served import Client, Served

OURS, THEIRS = 0, 1
TURNS = -10.0
"""The age of a heartbeat that is fresh, however late this process is."""
FACTORIES: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


async def hello(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Pair:
    """We, who serve and steal, and a sibling with a listener: what it does is what its words say."""

    def __init__(self, served: Served, stealing: Stealing, board: Scoreboard, theirs: socket.socket) -> None:
        self.served = served
        self.stealing = stealing
        self.board = board
        self.theirs = theirs

    def says(self, *, age: float, load: int, fence: int = 0, desk: int = 0) -> None:
        """Its heartbeat is so old, in seconds."""
        words = self.board.desk(THEIRS, 0)
        words[Desk.HEARTBEAT] = time.monotonic_ns() - int(age * 1e9)
        words[Desk.LOAD] = load
        row = self.board.slot(THEIRS)
        row[SlotWord.FENCE], row[SlotWord.SERVING_DESK] = fence, desk

    @property
    def stolen(self) -> int:
        return self.board.word(OURS, 0, Desk.STOLEN)

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection(*self.theirs.getsockname()))

    async def turns(self, seconds: float) -> None:
        """The sibling beats all the while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.says(age=TURNS, load=1)
            await asyncio.sleep(0)


@asynccontextmanager
async def pair(limit: int | None = None) -> AsyncIterator[Pair]:
    board = Scoreboard.create(MOST + 4)
    served = Served(hello, "httptools", limit_concurrency=limit)
    try:
        async with served:
            served.server.stolen_from = True
            stealing = Stealing(served.server, board, board.desk(OURS, 0), limit)
            stealing.start(asyncio.get_running_loop())
            with socket.create_server(("127.0.0.1", 0)) as theirs:
                theirs.setblocking(False)
                stealing.watch(THEIRS, [os.dup(theirs.fileno())])
                yield Pair(served, stealing, board, theirs)
                close(stealing)
    finally:
        os.close(board.fd)


@pytest.fixture(params=FACTORIES)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine in either loop."""

    def in_loop(made: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=FACTORIES[request.param]) as runner:
            runner.run(made)

    return in_loop


Run = Callable[[Coroutine[Any, Any, None]], None]
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


def test_who_waits_for_a_blocked_sibling_is_ours_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with pair() as two:
            two.says(age=0.05, load=1)
            clients = [await two.connect() for _ in range(20)]
            assert [await client.ask(GET) for client in clients] == [200] * 20
            assert two.stolen == 20
            for client in clients:
                client.writer.close()

    run(scenario())


def test_who_turns_gets_its_own(run: Run) -> None:
    async def scenario() -> None:
        async with pair() as two:
            two.says(age=TURNS, load=1)
            async with await two.connect() as client:
                await two.turns(0.0005)
                accepted, _ = two.theirs.accept()
                await two.turns(0.02)
                assert two.stolen == 0
                accepted.close()
                assert await client.rest() == b""

    run(scenario())


def test_who_is_busy_for_moments_wakes_us_rarely(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[float] = []
    on_waiting = Stealing._on_waiting

    def counted(stealing: Stealing, sibling: Any) -> None:
        woken.append(time.monotonic())
        on_waiting(stealing, sibling)

    monkeypatch.setattr(Stealing, "_on_waiting", counted)

    async def scenario() -> None:
        async with pair() as two:
            end = time.monotonic() + 0.5
            connections = 0
            while time.monotonic() < end:
                two.says(age=TURNS, load=1)
                with socket.create_connection(two.theirs.getsockname()):
                    await asyncio.sleep(0)
                    with contextlib.suppress(BlockingIOError):
                        two.theirs.accept()[0].close()
                    # Now our next look finds nobody, if it does not come in the one turn above.
                    await two.turns(0.0005)
                connections += 1
            # Nearly each would, or one in 3 ms. The clock is that of a machine that may be slow.
            assert AT_ONCE < len(woken) <= AT_ONCE + 2 * VAIN < connections
            # It is blocked all of a sudden, and whoever comes is ours, if not at once.
            before = two.stolen
            two.says(age=0.05, load=1)
            async with await two.connect() as client:
                assert await client.ask(GET) == 200
            assert two.stolen == before + 1

    run(scenario())


def test_who_turns_and_leaves_somebody_waiting_is_helped_all_the_same(run: Run) -> None:
    async def scenario() -> None:
        async with pair() as two:
            two.says(age=TURNS, load=1)
            async with await two.connect() as client:
                client.writer.write(GET)
                await two.turns(0.05)
                assert two.stolen == 1
                assert await client.answer() == 200

    run(scenario())


@pytest.mark.parametrize(("age", "load"), [(0.0, 1), (0.0, 0), (0.05, 0)])
def test_who_stands_still_is_helped_a_moment_later(run: Run, age: float, load: int) -> None:
    async def scenario() -> None:
        async with pair() as two:
            two.says(age=age, load=load)
            began = time.monotonic()
            async with await two.connect() as client:
                assert await client.ask(GET) == 200
                if not load:
                    assert time.monotonic() - began > REST / 2

    run(scenario())


def test_two_at_once_may_have_woken_it_and_wait_a_moment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reuseport.worker.stealing.AGAIN", 0.2)

    async def scenario() -> None:
        async with pair() as two:
            loop = asyncio.get_running_loop()
            two.says(age=0.005, load=1)
            clients = [socket.create_connection(two.theirs.getsockname()) for _ in range(2)]
            for _ in range(3):
                await asyncio.sleep(0)
            assert two.stolen == 0
            for client in clients:
                client.setblocking(False)
                await loop.sock_sendall(client, GET)
                assert (await loop.sock_recv(client, 100)).startswith(b"HTTP/1.1 200")
                client.close()

    run(scenario())


@pytest.mark.parametrize("words", [{"fence": 1}, {"desk": 2**63}])
def test_who_comes_where_nobody_serves_is_ours(run: Run, words: dict[str, int]) -> None:
    async def scenario() -> None:
        async with pair() as two:
            two.says(age=0, load=0, **words)
            for _ in range(2):
                clients = [await two.connect() for _ in range(3)]
                for client in clients:
                    assert await client.ask(GET) == 200
                    client.writer.close()

    run(scenario())


def test_who_is_at_the_limit_takes_nobody(run: Run) -> None:
    async def scenario() -> None:
        async with (
            pair(limit=3) as two,
            await two.served.connect() as one,
            await two.served.connect() as other,
        ):
            assert (await one.ask(GET), await other.ask(GET)) == (200, 200)
            two.says(age=0.05, load=1)
            async with await two.connect():
                await asyncio.sleep(0.02)
                assert two.stolen == 0

    run(scenario())


def test_what_was_closed_by_somebody_is_let_go(run: Run) -> None:
    async def scenario() -> None:
        async with pair() as two:
            two.says(age=0.05, load=1)
            two.theirs.shutdown(socket.SHUT_RD)
            async with asyncio.timeout(30):
                while two.stealing.descriptors():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.001)

    run(scenario())


def test_the_end_leaves_no_descriptor_and_accepts_nobody(run: Run) -> None:
    async def scenario() -> None:
        async with pair() as two:
            close(two.stealing)
            before = _descriptors()
            two.stealing.watch(THEIRS, [os.dup(two.theirs.fileno())])  # crossed the order to drain
            assert _descriptors() == before
            two.says(age=0.05, load=1)
            async with await two.connect():
                await asyncio.sleep(0.02)
                assert two.stolen == 0

    run(scenario())


def test_told_again_and_of_many_it_holds_each_once_and_not_too_many(run: Run) -> None:
    async def scenario() -> None:
        async with pair() as two:
            before = _descriptors()
            two.stealing.watch(THEIRS, [os.dup(two.theirs.fileno())])
            assert _descriptors() == before
            for slot in range(2, MOST + 4):
                two.stealing.watch(slot, [os.dup(two.theirs.fileno())])
            assert len(two.stealing.descriptors()) == 2 * MOST
            close(two.stealing)
            assert _descriptors() == before - 2

    run(scenario())


def close(stealing: Stealing) -> None:
    for listener in stealing.end():
        listener.close()


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
