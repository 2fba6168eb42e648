"""The application that the comparison serves: says who answers, and keeps count of what it is executing.

Each process has a file `BENCH_LEDGER/PID` of one mapped word: requests whose handler has begun and not ended.
The file appears when application startup is over; its last value survives a SIGKILL, so what the killed
process was executing is counted on the server's side. Any ASGI server can run this.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY = b"hello, world\n"

# What heavy imports do: nothing else runs in this process meanwhile.
time.sleep(float(os.environ.get("BENCH_IMPORT_SECONDS", "0")))

_executing = memoryview(bytearray(8)).cast("Q")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """`/` at once · `/wait/MS` without blocking · on the event loop `/work/MS`, `/block/MS`, `/api/N`."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    _executing[0] += 1
    try:
        await answer(scope["path"], send)
    finally:
        _executing[0] -= 1


async def lifespan(receive: Receive, send: Send) -> None:
    """Enter this process into the ledger."""
    await receive()
    enter()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def enter() -> None:
    """From now on this process is in the ledger."""
    global _executing  # noqa: PLW0603 - one word for one process
    _executing = entry(Path(os.environ["BENCH_LEDGER"]))


def entry(ledger: Path) -> memoryview[int]:
    """This process's word in the ledger, 0."""
    unfinished = ledger / f".{os.getpid()}"
    with unfinished.open("w+b") as file:
        file.truncate(mmap.PAGESIZE)
        mapped = mmap.mmap(file.fileno(), mmap.PAGESIZE)
    unfinished.rename(ledger / str(os.getpid()))
    return memoryview(mapped).cast("Q")


def block(seconds: float) -> None:
    """Block the event loop without using a core: so two cores can stand for as many as there are workers."""
    time.sleep(seconds)


async def answer(path: str, send: Send) -> None:
    """One response, after the wait or the work that its path asks for."""
    kind, _, how_much = path.strip("/").partition("/")
    match kind:
        case "wait":
            await asyncio.sleep(float(how_much) / 1e3)
        case "work":
            end = time.perf_counter() + float(how_much) / 1e3
            while time.perf_counter() < end:
                pass
        case "block":
            block(float(how_much) / 1e3)
        case "api":
            count = 0
            for i in range(int(how_much) + 1):
                count += i
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(BODY)).encode()),
        (b"x-pid", str(os.getpid()).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
