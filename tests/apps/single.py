"""Something that must run once: in each worker a task waits to be the only one.

It says `begins in slot N, pid P, at T` (CLOCK_MONOTONIC), and `ends …` when its worker drains, or with
TEST_DEAF only when it is cancelled. The file TEST_WITNESS is locked meanwhile: `two at once` would tell.
TEST_RESTLESS: it leaves and comes again, as often as it can.
`/` says who holds it, as far as this worker knows · `/fork` in the holder: a child that lives on, its pid.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import reuseport

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WHO = f"in slot {os.environ['REUSEPORT_SLOT']}, pid {os.getpid()}"
scheduler = reuseport.only_one("scheduler")
holds = False


async def work() -> None:
    global holds  # noqa: PLW0603 - one a worker
    with Path(os.environ["TEST_WITNESS"]).open("w") as witness:  # noqa: ASYNC230 - before anybody is served
        while not reuseport.draining.is_set():
            async with scheduler as draining:
                if "TEST_RESTLESS" in os.environ:
                    await asyncio.sleep(0)
                else:
                    await testify(witness.fileno())
                    holds = True
                    say("begins")
                    await (asyncio.Event().wait() if "TEST_DEAF" in os.environ else draining)
                    holds = False
                    say("ends")
                    fcntl.flock(witness, fcntl.LOCK_UN)
            await asyncio.sleep(0)


async def testify(witness: int) -> None:
    for _ in range(100):
        # The descriptors of who was killed are closed one after the other.
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(witness, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        await asyncio.sleep(0.001)
    sys.stderr.write(f"two at once: {WHO}\n")


def say(what: str) -> None:
    sys.stderr.write(f"{what} {WHO}, at {time.monotonic()}\n")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        task = asyncio.create_task(work())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await send({"type": "lifespan.shutdown.complete"})
        return
    told: dict[str, Any] = {"slot": int(os.environ["REUSEPORT_SLOT"]), "pid": os.getpid(), "holds": holds}
    if scope["path"] == "/fork" and holds:
        child = multiprocessing.get_context("fork").Process(target=signal.pause)
        child.start()
        told["child"] = child.pid
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
