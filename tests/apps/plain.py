"""A small ASGI application without a framework: says who answers; can wait, block, stream, or die."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/` who · `/wait?s=1` without blocking · `/block?s=1` blocking the loop · `/sse` for ever · `/die`."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        await answer(scope, receive, send)


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    scope["state"]["born"] = os.getpid()
    await asyncio.sleep(float(os.environ.get("TEST_STARTUP_SECONDS", "0")))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    sys.stderr.write(f"lifespan shutdown in slot {os.environ['REUSEPORT_SLOT']}\n")
    await asyncio.sleep(float(os.environ.get("TEST_SHUTDOWN_SECONDS", "0")))
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
    match scope["path"]:
        case "/wait":
            await asyncio.sleep(float(query["s"]))
        case "/block":
            time.sleep(float(query["s"]))  # noqa: ASYNC251 - blocking the loop is the point
        case "/die":
            os._exit(7)
        case "/sse":
            await stream(receive, send)
            return
    who = {
        "slot": os.environ["REUSEPORT_SLOT"],
        "generation": os.environ["REUSEPORT_GENERATION"],
        "pid": os.getpid(),
        "state": scope["state"].get("born"),
        "scheme": scope["scheme"],
        "client": scope["client"],
    }
    body = json.dumps(who).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(receive: Receive, send: Send) -> None:
    """Server-sent events until the client or the server ends it."""
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    while True:
        await send({"type": "http.response.body", "body": b"data: tick\n\n", "more_body": True})
        await asyncio.sleep(0.05)


async def echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
