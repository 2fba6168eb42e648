"""WebSockets: how a handshake is answered, and how many are open. Raw handshakes, both libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from tests.worker.served import PATIENCE, Served, request

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEADERS = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
CLOSE = bytes([0x88, 0x80, 0, 0, 0, 0])
"""A close frame without a code, masked with zeros (RFC 6455)."""

libraries = pytest.mark.parametrize(
    ("http", "ws"),
    [("httptools", "websockets-sansio"), ("h11", "websockets-sansio"), ("httptools", "websockets")],
)
# The older library's and uvicorn's, of each other.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::uvicorn.config.UvicornDeprecationWarning"
)


class App:
    """The path says how the handshake is answered."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        assert (await receive())["type"] == "websocket.connect"
        match scope["path"]:
            case "/accept":
                await send({"type": "websocket.accept"})
                while (await receive())["type"] != "websocket.disconnect":
                    pass
            case "/die":
                await send({"type": "websocket.accept"})
                raise ValueError("on purpose")
            case "/close":
                await send({"type": "websocket.close"})
            case "/deny":
                await send({"type": "websocket.http.response.start", "status": 418, "headers": []})
                await send({"type": "websocket.http.response.body", "body": b"teapot"})
            case "/fail":
                raise ValueError("on purpose")
            case "/leaves":
                self.waits.set()
                await receive()


@libraries
def test_an_open_one_is_told_until_it_ends(http: str, ws: str) -> None:
    async def go() -> None:
        async with Served(App(), http, ws=ws) as served:
            async with await served.connect() as one, await served.connect() as other:
                for number, client in enumerate((one, other), start=1):
                    assert await client.ask(request("/accept", "GET", *HEADERS)) == 101
                    assert served.counts == {"1XX": number, "websockets": number}
                one.writer.write(CLOSE)
                await one.rest()
                await served.until({"1XX": 2, "websockets": 1})
            await served.idle()
            assert served.counts == {"1XX": 2}

    asyncio.run(go())


@libraries
def test_one_whose_application_fails_is_open_no_more(http: str, ws: str) -> None:
    async def go() -> None:
        async with Served(App(), http, ws=ws) as served, await served.connect() as client:
            assert await client.ask(request("/die", "GET", *HEADERS)) == 101
            await client.rest()
            await served.until({"1XX": 1})

    asyncio.run(go())


@libraries
@pytest.mark.parametrize(
    ("path", "status"), [("/close", 403), ("/deny", 418), ("/fail", 500), ("/nothing", 500)]
)
def test_a_refusal_counts_by_its_status(http: str, ws: str, path: str, status: int) -> None:
    async def go() -> None:
        async with Served(App(), http, ws=ws) as served, await served.connect() as client:
            assert await client.ask(request(path, "GET", *HEADERS)) == status
            await served.until({f"{status // 100}XX": 1})

    asyncio.run(go())


@libraries
def test_who_leaves_before_the_handshake_has_abandoned_it(http: str, ws: str) -> None:
    async def go() -> None:
        app = App()
        async with Served(app, http, ws=ws) as served:
            async with await served.connect() as client:
                client.writer.write(request("/leaves", "GET", *HEADERS))
                await asyncio.wait_for(app.waits.wait(), PATIENCE)
            await served.idle()
            assert served.counts == {"abandoned": 1}

    asyncio.run(go())
