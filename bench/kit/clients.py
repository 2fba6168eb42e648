"""Clients whose every connection is accounted for: how each ended, and who ended it.

Their event loop runs in a thread, beside the scenario that reloads, kills and scales.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType

from bench.kit.measure import HOST

PAUSE = 0.02
"""Seconds a keep-alive client thinks between an answer and its next request."""
MOST = 30.0
"""Seconds after which a request counts as never answered."""

FAILED, REFUSED, CLOSED, ANNOUNCED, NON_2XX = "failed", "refused", "closed", "announced", "non-2xx"


@dataclass
class Tally:
    """What happened to the requests of one kind of client.

    `ends` counts FAILED (a request that got no whole answer), REFUSED (no connection), CLOSED (by the server,
    between two requests, unannounced), ANNOUNCED (likewise after `Connection: close`), NON_2XX.
    `latencies` are pairs: when the request was due, on the monotonic clock, and how long after that it was
    answered; both in seconds.
    """

    answered: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    latencies: list[tuple[float, float]] = field(default_factory=list)
    pids: dict[int, float] = field(default_factory=dict)
    """By worker, when it last answered."""

    def lost(self) -> int:
        """Requests that a client would have to report as an error."""
        return self.ends[FAILED] + self.ends[REFUSED] + self.ends[NON_2XX]

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()) if count)
        reasons = f" ({', '.join(f'{n} {why}' for why, n in self.reasons.items())})" if self.reasons else ""
        return f"{self.answered} answered, {ends or 'nothing lost'}{reasons}"


@dataclass(frozen=True, slots=True)
class Target:
    """Where to ask. `tls` trusts the server's certificate."""

    port: int
    path: str = "/"
    tls: ssl.SSLContext | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection. Raises OSError."""
        return await asyncio.open_connection(HOST, self.port, ssl=self.tls)

    def request(self, connection: str) -> bytes:
        """The bytes of one request."""
        return f"GET {self.path} HTTP/1.1\r\nHost: bench\r\nConnection: {connection}\r\n\r\n".encode()


Job = Callable[[asyncio.Event], Coroutine[None, None, None]]


class Crowd:
    """Runs jobs in a thread of its own from `with` to its end; each gets the event that tells it to end."""

    def __init__(self, *jobs: Job) -> None:
        self._jobs = jobs
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        async with asyncio.TaskGroup() as group:
            for job in self._jobs:
                group.create_task(job(self._end))

    def __enter__(self) -> Crowd:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


def keeping_alive(target: Target, tally: Tally, pause: float = PAUSE) -> Job:
    """One connection, kept and asked again and again; a new one only when the server ends it."""

    async def job(end: asyncio.Event) -> None:
        streams = None
        while not end.is_set():
            if streams is None:
                streams = await _connect(target, tally)
                if streams is None:
                    await asyncio.sleep(PAUSE)
                    continue
            reader, writer = streams
            # The server's FIN was read while the loop turned: nobody had asked for anything.
            if reader.at_eof():
                tally.ends[CLOSED] += 1
                kept = False
            else:
                kept = await _ask(reader, writer, target.request("keep-alive"), tally, time.monotonic())
            if not kept:
                writer.transport.abort()
                streams = None
            await asyncio.sleep(pause)
        if streams is not None:
            streams[1].transport.abort()

    return job


def steadily(target: Target, tally: Tally, rate: float) -> Job:
    """`rate` requests a second, each on a new connection, due at its time whatever became of the last."""

    async def one(due: float) -> None:
        streams = await _connect(target, tally)
        if streams is not None:
            await _ask(*streams, target.request("close"), tally, due)
            streams[1].transport.abort()

    async def job(end: asyncio.Event) -> None:
        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            number = 0
            while not end.is_set():
                due = begin + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(one(due))
                number += 1

    return job


async def _connect(target: Target, tally: Tally) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    try:
        async with asyncio.timeout(MOST):
            return await target.connect()
    except (OSError, TimeoutError) as error:
        tally.ends[REFUSED] += 1
        tally.reasons[f"connect: {type(error).__name__}"] += 1
        return None


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, tally: Tally, due: float
) -> bool:
    """Ask once; whether the connection can be asked again."""
    try:
        async with asyncio.timeout(MOST):
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            await reader.readexactly(int(fields[b"content-length"]))
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        tally.ends[FAILED] += 1
        tally.reasons[type(error).__name__] += 1
        return False
    now = time.monotonic()
    tally.latencies.append((due, now - due))
    if not head.startswith(b"http/1.1 2"):
        tally.ends[NON_2XX] += 1
        return False
    tally.answered += 1
    tally.pids[int(fields[b"x-pid"])] = now
    if fields.get(b"connection") == b"close":
        if b"connection: keep-alive" in request.lower():
            tally.ends[ANNOUNCED] += 1
        return False
    return True
