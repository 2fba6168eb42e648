"""Functions for --on-ready and --on-exit, and an application that says when its lifespan ends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WHO = f"in slot {os.environ['REUSEPORT_SLOT']} of generation {os.environ['REUSEPORT_GENERATION']}"
number = 7


def say(what: str) -> None:
    sys.stderr.write(f"{what} {WHO}\n")


def warm() -> None:
    asyncio.get_running_loop()
    say("warm")


async def warm_later() -> None:
    await asyncio.sleep(0.01)
    say("warm later")


async def leave() -> None:
    await asyncio.sleep(0)
    say("left")


def fail() -> None:
    raise ZeroDivisionError(f"a hook {WHO}")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("shut down")
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["REUSEPORT_GENERATION"].encode()})
