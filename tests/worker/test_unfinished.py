"""What a drain waits for, asked of real connections: how many requests, and which has run for longest."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from reuseport.worker.unfinished import MOST_PATH, Unfinished, unfinished
from tests.worker.served import PATIENCE, Served, request

Message = MutableMapping[str, Any]


class App:
    """Answers when it may; `/background` answers and goes on."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.begun = asyncio.Semaphore(0)

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["path"] == "/background":
            await answer(send)
        self.begun.release()
        await self.may.wait()
        if scope["path"] != "/background":
            await answer(send)


async def answer(send: Callable[[Message], Awaitable[None]]) -> None:
    length = (b"content-length", b"2")
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_who_runs_is_told_the_oldest_first_and_nothing_a_client_wrote_breaks_the_line(http: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http) as served:
            assert unfinished(served.state) is None
            paths = ("/first%0Aforged", "/second", "/" + "x" * 1000)
            clients = []
            for path in paths:
                clients.append(await served.connect())
                clients[-1].writer.write(request(path))
                await asyncio.wait_for(app.begun.acquire(), PATIENCE)
            found = unfinished(served.state)
            assert found is not None
            assert found.requests == 3
            assert len(found.oldest) <= len("GET ") + MOST_PATH
            if http == "httptools":
                assert found.oldest == "GET /first%0Aforged"
                assert found.seconds is not None
                assert 0 <= found.seconds < PATIENCE
            else:  # h11's cycles are uvicorn's, which note no time
                assert found.oldest.startswith("GET /")
            app.may.set()
            for client in clients:
                assert await client.answer() == 200
                client.writer.close()
            await served.idle()
            assert unfinished(served.state) is None

    asyncio.run(go())


def test_what_goes_on_after_its_response_is_counted() -> None:
    async def go() -> None:
        app = App()
        async with Served(app, "httptools") as served, await served.connect() as client:
            assert await client.ask(request("/background")) == 200
            await asyncio.wait_for(app.begun.acquire(), PATIENCE)
            assert re.fullmatch(r"a request, for \d+ s: GET /background", str(unfinished(served.state)))
            app.may.set()

    asyncio.run(go())


def test_in_words() -> None:
    assert str(Unfinished(1, "GET /", None)) == "a request: GET /"
    told = str(Unfinished(12, "WebSocket /live", 95.4))
    assert told == "12 requests; the oldest, for 95 s: WebSocket /live"
