"""Server-sent events: a status each second and every record at once, the same bytes for everybody who looks.

(HTML Living Standard, 9.2.) A reader that does not keep up is let go of: its browser comes back by itself and
says which record it saw last.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Callable, Sequence

from reuseport.history import Record
from reuseport.instance import Instance

EVERY = 1.0
"""Seconds between two statuses."""
MOST = 16
"""Readers at a time."""
BEHIND = 256
"""Events that may wait for one reader, beside those it begins with."""
KEEP_ALIVE = 15.0
"""Seconds after which a comment is sent, for proxies that close what is silent."""


class Reader:
    """One stream: what it begins with, and what waits to be sent."""

    def __init__(self, first: Sequence[bytes]) -> None:
        self._first = collections.deque(first)
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(BEHIND)

    def offer(self, event: bytes) -> None:
        """Send this, or end: nobody reads."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Send nothing more, nor what waits."""
        self._first.clear()
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._first:
            yield self._first.popleft()
        while True:
            try:
                event = await asyncio.wait_for(self._waiting.get(), KEEP_ALIVE)
            except TimeoutError:
                event = b":\n\n"
            if event is None:
                return
            yield event


class Feed:
    """All streams. Costs nothing while nobody reads."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, instance: Instance, status: Callable[[], bytes]
    ) -> None:
        self._loop = loop
        self._instance = instance
        self._status = status
        self._readers: set[Reader] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._unwatch: Callable[[], None] | None = None
        self._look: asyncio.Task[None] | None = None

    def full(self) -> bool:
        """There is no room for one more."""
        return len(self._readers) >= MOST

    def join(self, after: int | None) -> Reader:
        """A new reader, which gets the records newer than `after`; None: those to come."""
        first = [_event("status", self._status())]
        if after is not None:
            # All of them, for a gap would never be noticed: the next event has a newer number.
            first += map(_of, self._instance.history.after(after)[0])
        reader = Reader(first)
        if not self._readers:
            self._unwatch = self._instance.history.watch(self._on_record)
            self._timer = self._loop.call_later(EVERY, self._tick)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """It reads no more."""
        self._readers.discard(reader)
        if not self._readers:
            self._rest()

    def close(self) -> None:
        """End all streams."""
        for reader in self._readers:
            reader.end()
        self._rest()
        if self._look is not None:
            self._look.cancel()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._unwatch is not None:
            self._unwatch()
        self._timer = self._unwatch = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(EVERY, self._tick)
        self._look = self._loop.create_task(self._instance.look())
        self._send(_event("status", self._status()))

    def _on_record(self, record: Record) -> None:
        self._send(_of(record))

    def _send(self, event: bytes) -> None:
        for reader in self._readers:
            reader.offer(event)


def _of(record: Record) -> bytes:
    return b"id: %d\n%s" % (record.seq, _event("record", record.encoded))


def _event(name: str, data: bytes) -> bytes:
    """JSON has no raw newline in it, so one data line is enough."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)
