"""Every kind of answer: at once, late, blocked, streamed, echoed; all say which process answers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PART = b"0123456789abcdef" * 16


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/` · `/block/MS` on the event loop · `/digest` of the body · `/stream/N` parts · WebSockets echo."""
    match scope["type"]:
        case "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        case "websocket":
            await echo(receive, send)
        case "http":
            kind, _, how_much = scope["path"].strip("/").partition("/")
            if kind == "stream":
                await stream(int(how_much), send)
                return
            if kind == "block":
                time.sleep(float(how_much) / 1e3)  # noqa: ASYNC251 - that is what it is for
            await answer(await digest(receive) if kind == "digest" else b"hello, world\n", send)


async def answer(body: bytes, send: Send) -> None:
    """One whole response."""
    headers = [(b"content-length", str(len(body)).encode()), (b"x-pid", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def digest(receive: Receive) -> bytes:
    """Of the request's body."""
    seen = hashlib.sha256()
    while True:
        message = await receive()
        seen.update(message.get("body", b""))
        if not message.get("more_body"):
            return seen.hexdigest().encode()


async def stream(parts: int, send: Send) -> None:
    """As many parts as asked for, twenty a second."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(parts):
        await send({"type": "http.response.body", "body": PART, "more_body": True})
        await asyncio.sleep(0.05)
    await send({"type": "http.response.body", "body": b""})


async def echo(receive: Receive, send: Send) -> None:
    """Every message back, until the client has enough."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
