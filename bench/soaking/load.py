"""Who asks: kept connections and new ones, bodies, streams, WebSockets, and handlers that block their worker.

Every request is accounted for, as in bench.kit.clients; what came back and was wrong is a failure, too.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from bench.kit.clients import FAILED, MOST, REFUSED, Job, Tally, Target, keeping_alive, steadily
from bench.kit.measure import HOST
from bench.soaking.application import PART

KEPT, NEW, BODIES, STREAMS, WEBSOCKETS, BLOCKING = (
    "kept",
    "new",
    "bodies",
    "streams",
    "websockets",
    "blocking",
)

CONNECTIONS = {KEPT: 12, NEW: 1, BODIES: 3, STREAMS: 3, WEBSOCKETS: 3, BLOCKING: 1}
"""Clients of each kind; of NEW it is one, with a connection for each request."""
RATE = 25.0
"""New connections a second."""
PAUSE = 0.05
"""Seconds a client thinks between two requests."""
LARGEST = 200_000
"""Bytes of a body."""
PARTS = 30
"""Of a stream: a second and a half."""
ECHOES = 15
"""Messages on each WebSocket."""
BLOCKED = 300
"""Milliseconds."""


def jobs(port: int, tallies: dict[str, Tally], seed: int) -> list[Job]:
    """All clients; `tallies` by kind."""
    rng = random.Random(seed)
    root = Target(port)
    made = [keeping_alive(root, tallies[KEPT], PAUSE) for _ in range(CONNECTIONS[KEPT])]
    made += [steadily(root, tallies[NEW], RATE)]
    made += [_bodies(port, tallies[BODIES], rng.randrange(2**32)) for _ in range(CONNECTIONS[BODIES])]
    made += [_streams(port, tallies[STREAMS]) for _ in range(CONNECTIONS[STREAMS])]
    made += [_websockets(port, tallies[WEBSOCKETS]) for _ in range(CONNECTIONS[WEBSOCKETS])]
    made += [_blocking(port, tallies[BLOCKING]) for _ in range(CONNECTIONS[BLOCKING])]
    return made


def _fail(tally: Tally, end: str, error: BaseException | str) -> None:
    tally.ends[end] += 1
    tally.reasons[error if isinstance(error, str) else type(error).__name__] += 1


def _bodies(port: int, tally: Tally, seed: int) -> Job:
    """Bodies of any size, on new connections and kept ones; the answer is their digest."""
    rng = random.Random(seed)

    async def ask() -> None:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            for left in reversed(range(rng.randint(1, 3))):
                body = rng.randbytes(rng.randrange(LARGEST))
                kept = "keep-alive" if left else "close"
                head = f"POST /digest HTTP/1.1\r\nHost: soak\r\nConnection: {kept}\r\n"
                head += f"Content-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
                answer = await reader.readuntil(b"\r\n\r\n")
                if await reader.readexactly(64) != hashlib.sha256(body).hexdigest().encode():
                    _fail(tally, FAILED, "another body's digest")
                else:
                    tally.answered += 1
                    tally.latencies.append((begun, time.monotonic() - begun))
                if b"connection: close" in answer.lower():
                    return
                begun = time.monotonic()
        finally:
            writer.transport.abort()

    return _again_and_again(ask, tally)


def _streams(port: int, tally: Tally) -> Job:
    """Chunked answers, whole."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET /stream/{PARTS} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            if body != PARTS * PART:
                raise EOFError(f"{len(body)} bytes of a stream")
            tally.answered += 1
        finally:
            writer.transport.abort()

    return _again_and_again(ask, tally)


def _websockets(port: int, tally: Tally) -> Job:
    """Some messages there and back, then a proper close."""

    async def ask() -> None:
        async with connect(f"ws://{HOST}:{port}/", compression=None, open_timeout=MOST) as websocket:
            for number in range(ECHOES):
                await websocket.send(str(number))
                if await websocket.recv() != str(number):
                    raise EOFError("another message's echo")
                await asyncio.sleep(2 * PAUSE)
        tally.answered += 1

    return _again_and_again(ask, tally)


def _blocking(port: int, tally: Tally) -> Job:
    """A handler that blocks its worker, then a pause of several times as long."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(f"GET /block/{BLOCKED} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise EOFError("not 200")
            tally.answered += 1
        finally:
            writer.transport.abort()
        await asyncio.sleep(4 * BLOCKED / 1e3)

    return _again_and_again(ask, tally)


def _again_and_again(ask: object, tally: Tally) -> Job:
    async def job(end: asyncio.Event) -> None:
        while not end.is_set():
            try:
                async with asyncio.timeout(MOST):
                    await ask()  # type: ignore[operator]
            except ConnectionRefusedError as error:
                _fail(tally, REFUSED, error)
            except (OSError, EOFError, TimeoutError, ValueError, WebSocketException) as error:
                _fail(tally, FAILED, error)
            await asyncio.sleep(PAUSE)

    return job
