"""A worker that answers many requests in one turn of its loop is busy, not blocked: its heartbeat says so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

from reuseport.scoreboard import Desk
from tests.worker.protocol.test_connection import parsers
from tests.worker.served import PATIENCE, Served, request

LONG = 0.005
"""Seconds that each request takes in one step: longer than a heartbeat stays fresh."""


@parsers
def test_each_answer_is_one(http: str) -> None:
    told: list[tuple[int, int]] = []
    """Of each request: the heartbeat when it begins, and when its answer was sent."""

    async def app(_: Any, __: Any, send: Any) -> None:
        heartbeat = served.desk[Desk.HEARTBEAT]
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            pass
        told.append((heartbeat, time.monotonic_ns()))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    served = Served(app, http)

    async def go() -> None:
        async with served:
            loop = asyncio.get_running_loop()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(socket.socket()) for _ in range(4)]
                for client in clients:
                    client.setblocking(False)
                    await loop.sock_connect(client, tuple(served.address))
                while len(served.made) < len(clients):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0)
                for client in clients:  # in one turn, so that they are read in one
                    client.send(request())
                async with asyncio.timeout(PATIENCE):
                    for client in clients:
                        assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 200 ")

    asyncio.run(go())
    answered = [sent for _, sent in told]
    assert all(heartbeat >= sent for (heartbeat, _), sent in zip(told[1:], answered, strict=False))
