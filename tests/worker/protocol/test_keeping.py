"""How long a connection is kept between two requests: the test looks, a real client waits."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reuseport.worker.protocol.connection import TransferableH11, TransferableHttpTools
from reuseport.worker.protocol.keeping import LOOK
from tests.worker.protocol.test_connection import app
from tests.worker.served import Client, Served, request

KEPT = 3
"""Seconds."""
LEAST = round(KEPT / LOOK)
"""Looks in which that time cannot be over: the first comes at once."""
MOST = LEAST + LEAST // 10 + 2

parsers = pytest.mark.parametrize("http", ["httptools", "h11"])


def look(served: Served, times: int) -> None:
    for _ in range(times):
        served.state.look()


async def closed(client: Client) -> bool:
    """Whether the server has closed; asked in a moment in which nothing is on its way."""
    for _ in range(10):
        await asyncio.sleep(0)
    return client.reader.at_eof()


@parsers
def test_kept_for_as_long_as_asked_and_not_much_longer(http: str) -> None:
    async def go() -> None:
        async with Served(app, http, timeout_keep_alive=KEPT) as served, await served.connect() as client:
            assert await client.ask(request()) == 200
            look(served, LEAST)
            assert await client.ask(request()) == 200
            look(served, LEAST)
            assert not await closed(client)
            look(served, MOST - LEAST)
            assert await client.rest() == b""

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("begun", [b"G", request()[:-2]], ids=["a byte", "headers"])
def test_who_has_begun_to_ask_is_not_closed(http: str, begun: bytes) -> None:
    async def go() -> None:
        async with Served(app, http, timeout_keep_alive=KEPT) as served, await served.connect() as client:
            assert await client.ask(request()) == 200
            client.writer.write(begun)
            (connection,) = served.state.connections
            assert isinstance(connection, TransferableHttpTools | TransferableH11)
            async with asyncio.timeout(30):
                while connection.between_requests():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.001)
            look(served, 2 * MOST)
            assert await client.ask(request()[len(begun) :]) == 200

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("path", ["/never", "/"])
def test_who_waits_for_an_answer_or_has_not_asked_is_not_closed(http: str, path: str) -> None:
    async def go() -> None:
        async with Served(app, http, timeout_keep_alive=KEPT) as served, await served.connect() as client:
            if path == "/never":
                client.writer.write(request(path))
            running = path == "/never"
            async with asyncio.timeout(30):
                while len(served.state.tasks) < running or not served.state.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            look(served, 2 * MOST)
            assert not await closed(client)

    asyncio.run(go())


@parsers
@pytest.mark.parametrize("seconds", [0, 1])
def test_a_short_time_is_uvicorn_s(http: str, seconds: int) -> None:
    async def go() -> None:
        async with Served(app, http, timeout_keep_alive=seconds) as served, await served.connect() as client:
            assert await client.ask(request()) == 200
            assert await client.rest() == b""

    asyncio.run(go())


def test_a_protocol_that_is_not_ours_keeps_its_timer() -> None:
    async def go() -> None:
        served = Served(app, HttpToolsProtocol, timeout_keep_alive=1)
        async with served, await served.connect() as client:
            assert await client.ask(request()) == 200
            look(served, MOST)
            with contextlib.suppress(ConnectionError):
                assert await client.rest() == b""

    asyncio.run(go())
