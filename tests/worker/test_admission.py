"""Who is let in, and when: limits and announcements, with real sockets in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reuseport.scoreboard import Desk
from reuseport.settings.table import Settings
from reuseport.worker.protocol.count import Message, Receive, Send
from reuseport.worker.protocol.load import FULL
from tests.worker.protocol.test_announced import CLIENT, HEADERS
from tests.worker.served import Client, Served, request

MOST = 3
HEADER = HEADERS["TCP4"][0]
PROXIED = Settings(proxy_protocol=True, arrival_timeout=1.0)
LOOKS = 15
"""More than PROXIED gives an announcement."""


async def app(scope: Message, _receive: Receive, send: Send) -> None:
    body = repr(scope["client"]).encode()
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def connected(served: Served, *says: bytes) -> Client:
    client = await served.connect()
    client.writer.write(b"".join(says))
    return client


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# ── a limit ───────────────────────────────────────────────────────────────────────────────────────────


def test_no_more_than_the_limit_and_the_next_when_one_leaves() -> None:
    async def go() -> None:
        async with Served(app, "httptools", settings=Settings(limit_connections=MOST)) as served:
            clients = [await connected(served, request()) for _ in range(3 * MOST)]
            waiting = list(clients)
            while waiting:
                await until(lambda: len(served.made) == min(MOST, len(waiting)))
                for _ in range(20):
                    await asyncio.sleep(0.001)
                    assert len(served.made) <= MOST
                assert (served.desk[Desk.LOAD] >= FULL) is (len(waiting) >= MOST)
                first = waiting.pop(0)
                assert await first.answer() == 200
                first.writer.close()
                await until(lambda: len(served.made) == min(MOST, len(waiting)))

    asyncio.run(go())


def take_all(taken: list[int]) -> None:
    while True:
        taken.append(os.dup(0))


def test_without_a_descriptor_they_wait_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        async with Served(app, "httptools", settings=Settings(limit_connections=MOST)) as served:
            client = socket.socket()
            client.setblocking(False)
            taken: list[int] = []
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 8, before[1]))
                with pytest.raises(OSError, match="Too many open files"):
                    take_all(taken)
                await asyncio.get_running_loop().sock_connect(client, tuple(served.address))
                await asyncio.sleep(0.05)
                assert not served.made
            finally:
                for fd in taken:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            await until(lambda: served.made)
            client.close()

    asyncio.run(go())
    assert caplog.text.count("raise ulimit -n") == 1


# ── announcements ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 2, 15, len(HEADER) - 1, len(HEADER), len(HEADER) + 1, 1000])
def test_it_is_taken_in_pieces_and_nothing_behind_it(size: int) -> None:
    async def go() -> None:
        async with Served(app, "httptools", settings=PROXIED) as served:
            client = await connected(served)
            await until(lambda: len(served.admission or ()) == 1)
            data = HEADER + request()
            for at in range(0, len(data), size):
                client.writer.write(data[at : at + size])
                await asyncio.sleep(0.002)
            assert await client.answer() == 200
            (connection,) = served.made
            assert connection.client == CLIENT
            assert len(served.admission or ()) == 0
            client.writer.close()

    asyncio.run(go())


def test_who_announces_nothing_in_time_is_closed_and_nothing_is_left_of_it() -> None:
    async def go() -> None:
        async with Served(app, "httptools", settings=PROXIED) as served:
            admission = served.admission
            assert admission is not None
            before = descriptors()
            slow = [await connected(served, HEADER[:length]) for length in range(10)]
            await until(lambda: len(admission) == 10)
            assert len(list(admission.descriptors())) == 10
            for _ in range(LOOKS // 2):
                admission.look()
            late = await connected(served, HEADER[:3])
            await until(lambda: len(admission) == 11)
            for _ in range(LOOKS // 2):
                admission.look()
            assert len(admission) == 1
            assert served.turned_away == {"unannounced": 10}
            for client in slow:
                assert await client.rest() == b""
                client.writer.close()
            late.writer.write(HEADER[3:] + request())
            assert await late.answer() == 200
            late.writer.close()
            await served.idle()
            await until(lambda: descriptors() == before)

    asyncio.run(go())


def test_who_leaves_before_its_announcement_is_over_leaves_nothing() -> None:
    async def go() -> None:
        async with Served(app, "httptools", settings=PROXIED) as served:
            before = descriptors()
            for length in range(len(HEADER)):
                client = await connected(served, HEADER[:length])
                if length % 2:
                    client.writer.transport.abort()
                else:
                    client.writer.close()
            await until(lambda: served.turned_away == {"unannounced": len(HEADER)})
            await until(lambda: descriptors() == before)

    asyncio.run(go())


def test_who_is_still_about_to_be_announced_at_the_end_is_closed() -> None:
    async def go() -> None:
        async with Served(app, "httptools", settings=PROXIED) as served:
            admission = served.admission
            assert admission is not None
            before = descriptors()
            clients = [await connected(served, HEADER[:5]) for _ in range(3)]
            await until(lambda: len(admission) == 3)
            admission.close()
            assert len(admission) == 0
            for client in clients:
                with contextlib.suppress(ConnectionResetError):  # what nobody has read makes it one
                    assert await client.rest() == b""
                client.writer.close()
            await until(lambda: descriptors() == before)

    asyncio.run(go())


def test_those_who_stand_in_the_gate_count() -> None:
    async def go() -> None:
        settings = Settings(proxy_protocol=True, limit_connections=MOST)
        async with Served(app, "httptools", settings=settings) as served:
            clients = [await connected(served) for _ in range(2 * MOST)]
            await until(lambda: len(served.admission or ()) == MOST)
            for _ in range(20):
                await asyncio.sleep(0.001)
                assert len(served.admission or ()) + len(served.made) == MOST
            for client in clients:
                client.writer.write(HEADER + request())
            for client in clients[:MOST]:
                assert await client.answer() == 200
            for client in clients:
                client.writer.close()

    asyncio.run(go())


def test_without_any_of_it_there_is_no_gate() -> None:
    assert Served(app, "httptools").admission is None
