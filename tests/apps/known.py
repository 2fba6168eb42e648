"""Says who the client is, as the scope has it: to requests, to WebSockets, and who serves them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """`?block=1` blocks the event loop before it answers."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    for seconds in parse_qs(scope["query_string"].decode()).get("block", ()):
        sys.stderr.write("the event loop is blocked\n")
        time.sleep(float(seconds))  # noqa: ASYNC251 - blocking the loop is the point
    said = {name: scope[name] for name in ("client", "server", "scheme")}
    said |= {"slot": os.environ["REUSEPORT_SLOT"], "generation": os.environ["REUSEPORT_GENERATION"]}
    body = json.dumps(said)
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": body})
        await receive()
        return
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body.encode()})
