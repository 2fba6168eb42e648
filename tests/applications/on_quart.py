# requires: quart
"""Quart: forms, sessions, streams, background tasks, WebSocket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
from quart import Quart, request, session, websocket
from websockets.sync.client import connect

app = Quart(__name__)
app.secret_key = "not secret"


@app.post("/form")
async def form() -> dict[str, Any]:
    return {"form": dict(await request.form), "size": len((await request.files)["content"].read())}


@app.get("/visits")
async def visits() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/stream")
async def stream() -> Any:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"%d\n" % number

    return parts(), 200, {"X-Own": "yes"}


@app.websocket("/ws")
async def ws() -> None:
    while True:
        await websocket.send((await websocket.receive()).upper())


def use(url: str) -> object:
    with httpx.Client(base_url=url, timeout=20) as client:
        answers = [
            client.post("/form", data={"a": "b"}, files={"content": b"x" * 100_000}),
            client.get("/visits"),
            client.get("/visits"),
            client.get("/stream"),
            client.get("/missing"),
        ]
    with connect(url.replace("http", "ws") + "/ws") as opened:
        opened.send("hello")
        heard = opened.recv()
    return [[answer.status_code, answer.text] for answer in answers], heard
