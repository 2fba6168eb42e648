# requires: litestar
"""Litestar: typed handlers, streams, server-sent events, WebSocket listeners, its own 500."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
from litestar import Litestar, get, post, websocket_listener
from litestar.response import ServerSentEvent, Stream
from websockets.sync.client import connect


@get("/numbers/{number:int}")
async def number(number: int) -> dict[str, int]:
    return {"number": number}


@post("/sum")
async def add(data: list[int]) -> int:
    return sum(data)


async def parts() -> AsyncIterator[str]:
    for each in range(5):
        yield f"{each}\n"


@get("/stream")
async def stream() -> Stream:
    return Stream(parts())


@get("/events")
async def events() -> ServerSentEvent:
    return ServerSentEvent(parts())


@get("/failure", sync_to_thread=True)
def failure() -> None:
    raise ValueError("as asked")


@websocket_listener("/ws")
async def echo(data: str) -> str:
    return data.upper()


app = Litestar([number, add, stream, events, failure, echo], logging_config=None)


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [
            client.get("/numbers/3"),
            client.get("/numbers/x"),
            client.post("/sum", json=[1, 2, 3]),
            client.post("/sum", json=["x"]),
            client.get("/stream"),
            client.get("/events"),
            client.get("/failure"),
        ]
    with connect(url.replace("http", "ws") + "/ws") as websocket:
        websocket.send("hello")
        heard = websocket.recv()
    return [[answer.status_code, answer.text] for answer in answers], heard
