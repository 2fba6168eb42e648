"""How often a worker turns for itself: often while it works, rarely at rest, and at once for who comes."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
import uvloop

from reuseport.scoreboard import Desk
from reuseport.worker.inbox import Inbox
from reuseport.worker.meter import BEAT, PAUSE, REST, Meter
from tests.worker.served import PATIENCE, Served, request


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/wait":
        await asyncio.sleep(0.2)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Worker:
    """A server and its meter. `beats`: what the meter says of the next beat, in seconds."""

    def __init__(self, served: Served) -> None:
        self.desk = served.desk
        self.beats: list[float] = []
        self.seconds: list[float] = []
        self.meter = Meter(served.desk, served.state)
        self.meter.start(
            asyncio.get_running_loop(),
            [],
            on_second=lambda: self.seconds.append(time.monotonic()),
            expect=lambda seconds: self.beats.append(round(seconds, 3)),
        )

    async def rests(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while not self.desk[Desk.RESTING]:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)

    async def turned(self) -> int:
        """The next heartbeat."""
        before = self.desk[Desk.HEARTBEAT]
        async with asyncio.timeout(PATIENCE):
            while self.desk[Desk.HEARTBEAT] == before:  # noqa: ASYNC110 - ditto
                await asyncio.sleep(0.005)
        return self.desk[Desk.HEARTBEAT]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Any:
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


def test_a_worker_rests_when_nobody_is_connected_and_no_sooner(runner: asyncio.Runner) -> None:
    async def play() -> None:
        async with Served(app, "httptools", interface="asgi3") as served:
            worker = Worker(served)
            async with await served.connect() as client:
                await client.ask(request())
                # Kept: whoever asks there is seen by this worker alone, so it goes on looking.
                worker.beats.clear()
                while worker.beats.count(PAUSE) < 10:
                    assert not worker.desk[Desk.RESTING]
                    await worker.turned()
            await worker.rests()
            before, first = len(worker.seconds), await worker.turned()
            second = await worker.turned()
            assert second - first >= 0.99e9 * REST
            assert len(worker.seconds) == before + 2, "what is due every second is due at rest, too"
            assert worker.desk[Desk.RESTING]
            assert worker.desk[Desk.LOAD] == worker.desk[Desk.CONNECTIONS] == 0

    runner.run(play())


@pytest.mark.parametrize("path", ["/", "/wait"])
def test_a_client_ends_the_rest_at_once(runner: asyncio.Runner, path: str) -> None:
    async def play() -> None:
        async with Served(app, "httptools", interface="asgi3") as served:
            worker = Worker(served)
            await worker.rests()
            worker.beats.clear()
            async with await served.connect() as client:
                await worker.turned()
                assert not worker.desk[Desk.RESTING]
                # Before it asks: whoever has somebody waiting is believed to turn for a moment only.
                assert worker.desk[Desk.LOAD] == 1
                assert set(worker.beats) == {BEAT}
                assert await client.ask(request(path)) == 200
                assert max(worker.beats) < REST
            await worker.rests()

    runner.run(play())


def test_what_comes_by_the_inbox_ends_the_rest_and_shows_that_we_turn(runner: asyncio.Runner) -> None:
    async def play() -> None:
        receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        async with Served(app, "httptools", interface="asgi3") as served:
            worker = Worker(served)
            inbox = Inbox(receiving.detach(), served.server, served.desk)
            inbox.open(asyncio.get_running_loop())
            await worker.rests()
            worker.beats.clear()
            with sending:
                began = time.monotonic_ns()
                sending.send(b"c")
                turned = await worker.turned()
                rests = worker.desk[Desk.RESTING]
                inbox.close()
            assert turned - began < 0.5e9 * REST
            assert not rests
            assert worker.beats[0] == BEAT

    runner.run(play())
