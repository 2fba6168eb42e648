# requires: blacksheep
"""BlackSheep: bound parameters, JSON, files, streams, WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterable

import httpx
from blacksheep import Application, Content, Response, WebSocket, get, post, ws
from websockets.sync.client import connect

app = Application()


@get("/numbers/{number}")
async def numbers(number: int) -> dict[str, int]:
    return {"number": number}


@post("/sum")
async def add(numbers: list[int]) -> int:
    return sum(numbers)


@get("/stream")
async def stream() -> Response:
    async def parts() -> AsyncIterable[bytes]:
        for number in range(5):
            yield b"%d\n" % number

    from blacksheep import StreamedContent

    return Response(200, content=StreamedContent(b"text/plain", parts))


@get("/plain")
async def text() -> Response:
    return Response(201, [(b"X-Own", b"yes")], Content(b"text/plain", b"made"))


@ws("/ws")
async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text((await websocket.receive_text()).upper())
    await websocket.close()


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [
            client.get("/numbers/3"),
            client.get("/numbers/x"),
            client.post("/sum", json=[1, 2, 3]),
            client.get("/stream"),
            client.get("/plain"),
            client.get("/missing"),
        ]
    with connect(url.replace("http", "ws") + "/ws") as websocket:
        websocket.send("hello")
        heard = websocket.recv()
    return [[answer.status_code, answer.text] for answer in answers], heard
