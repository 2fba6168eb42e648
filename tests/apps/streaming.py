"""Streams without an end, which end when they learn that their worker drains; each in a way of its own.

`/extension`, `/asked`, `/package`, `/server` by the extension, the same without waiting, the package, and as
sse-starlette does it · `/deaf` never · WebSockets by the extension. First comes the slot, last `bye`.

TEST_HANDLER is how the application itself hears of SIGTERM: `chain`, `replace`, `exit` by a handler that it
sets at import, `loop` by one of the event loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from types import FrameType
from typing import Any

import reuseport

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SLOT = os.environ["REUSEPORT_SLOT"]
HANDLER = os.environ.get("TEST_HANDLER")
behind: Any = signal.getsignal(signal.SIGTERM)


def hear(*_: object) -> None:
    sys.stderr.write(f"heard in slot {SLOT}\n")


def chain(number: int, frame: FrameType | None) -> None:
    hear()
    behind(number, frame)


def leave(*_: object) -> None:
    hear()
    sys.exit(1)


handlers: dict[str | None, Callable[..., None]] = {"chain": chain, "replace": hear, "exit": leave}
if HANDLER in handlers:
    signal.signal(signal.SIGTERM, handlers[HANDLER])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    match scope["type"]:
        case "lifespan":
            await lifespan(receive, send)
        case "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": SLOT})
            await scope["extensions"]["reuseport.draining"]
            await send({"type": "websocket.send", "text": "bye"})
            await send({"type": "websocket.close"})
        case "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": SLOT.encode(), "more_body": True})
            await drained(scope)
            await send({"type": "http.response.body", "body": b"bye"})


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    if HANDLER == "loop":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, hear)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def drained(scope: Scope) -> None:
    notice = scope["extensions"]["reuseport.draining"]
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    match scope["path"]:
        case "/extension":
            await notice.wait()
        case "/asked":
            while not notice.is_set():  # noqa: ASYNC110 - that is how some ask
                await asyncio.sleep(0.05)
        case "/package":
            await reuseport.draining.wait()
        case "/server":
            while not server.should_exit:  # noqa: ASYNC110 - a flag has no event
                await asyncio.sleep(0.05)
        case path if path.startswith("/deaf"):
            await asyncio.Event().wait()
