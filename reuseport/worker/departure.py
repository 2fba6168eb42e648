"""A worker leaves: its idle connections go to its heirs, the others linger, nobody is cut off.

The heirs are inboxes of other slots, or of its own slot, where its successor reads. A connection goes over
when it is idle: at once, or when its response is complete. What cannot go over (TLS, HTTP/2, a parser we
do not know) and everything when there are no heirs (the whole server stops) lingers: the next response
says `Connection: close`, and who stays silent is closed when the keep-alive timeout ends, not before.

When the heir dies under way: its inbox is held by the launcher, so the connection waits there for the next
reader. When we die: what is sent is sent, what is not dies with us.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

from uvicorn.config import Config

from reuseport.scoreboard import Desk, add
from reuseport.worker.passing import NobodyReadsError, pass_on, sending_end
from reuseport.worker.protocol.connection import (
    State,
    Transferable,
    TransferableH11,
    TransferableHttpTools,
    transferable,
)

SWEEP = 0.02
"""Seconds between looks at connections that could not go at their last response: output waited, or the inbox
was full."""

SLICE = 0.001
"""Seconds of one look: so long a turn of the event loop takes at most, however many are passed on."""


class Departure:
    """Passes connections on while the worker leaves. Owns the heirs' descriptors."""

    def __init__(self, state: State, heirs: Sequence[int], desk: memoryview[int], *, final: bool) -> None:
        self.final = final
        """Nobody goes on: the whole server stops. If somebody does, the way there may still be lost."""
        self._state = state
        self._heirs = [sending_end(fd) for fd in heirs]
        self._turns = itertools.cycle(self._heirs)
        self._desk = desk
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False

    def begin(self, loop: asyncio.AbstractEventLoop, config: Config) -> None:
        """Pass on what is idle now, and from now on each connection when it becomes idle."""
        self._loop = loop
        self._begun = True
        movable = bool(self._heirs) and not config.is_ssl and transferable(config.http_protocol_class)
        self._count_the_lingering(config)
        if self.final or not movable:
            self._announce()
        if self.final:
            for connection in list(self._state.connections):
                if not _speaks_http(connection):
                    connection.shutdown()
        elif movable:
            self._state.on_idle = self._on_idle
            self._sweep()
        else:
            self._start_missing_clocks()

    def disinherit(self) -> None:
        """The heirs leave, too: what has not been passed on lingers from now on."""
        if not self._heirs:
            return
        self.end()
        if not self._begun:
            self.final = True
            return
        self._announce()
        self._start_missing_clocks()
        add(self._desk, Desk.LINGERED_STOP, len(self._state.connections))

    def end(self) -> None:
        """Pass on nothing more."""
        self._state.on_idle = None
        if self._timer is not None:
            self._timer.cancel()
        for heir in self._heirs:
            heir.close()
        self._heirs = []

    def _on_idle(self, connection: Transferable) -> None:
        """Its response is complete. uvloop writes at the end of its turn: until then output waits."""
        if not self.offer(connection):
            self._loop.call_soon(self.offer, connection)

    def offer(self, connection: Transferable) -> bool:
        """Pass this connection on if it is idle and an heir has room; whether it went."""
        if not self._heirs or not connection.idle():
            return False
        try:
            return any(
                pass_on(connection, heir, self._desk)
                for heir in itertools.islice(self._turns, len(self._heirs))
            )
        except NobodyReadsError:
            self.disinherit()
            return False

    def _sweep(self) -> None:
        """Not all in one turn of the loop: who has thousands would hold up the requests that still run."""
        slice_ends = time.monotonic() + SLICE
        again = SWEEP
        for connection in list(self._state.connections):
            if not isinstance(connection, TransferableHttpTools | TransferableH11):
                continue
            refused = self._desk[Desk.HANDOFFS_REFUSED]
            if not self.offer(connection) and self._desk[Desk.HANDOFFS_REFUSED] != refused:
                break  # nobody has room, and the next one would not find any
            if time.monotonic() >= slice_ends:
                again = 0.0
                break
        if self._heirs:
            self._timer = self._loop.call_later(again, self._sweep)

    def _announce(self) -> None:
        # uvicorn puts these into every response, and closes after one that says so.
        self._state.default_headers = [*self._state.default_headers, (b"connection", b"close")]

    def _start_missing_clocks(self) -> None:
        """A client that has asked for nothing yet would linger for ever: uvicorn's clock starts later."""
        connections: list[Any] = list(self._state.connections)
        for connection in connections:
            if not _speaks_http(connection) or connection.cycle is not None:
                continue
            if isinstance(connection, TransferableHttpTools | TransferableH11):
                connection.keep()
            else:
                connection.timeout_keep_alive_task = self._loop.call_later(
                    connection.timeout_keep_alive, connection.timeout_keep_alive_handler
                )

    def _count_the_lingering(self, config: Config) -> None:
        for connection in self._state.connections:
            if self.final:
                add(self._desk, Desk.LINGERED_STOP)
            elif config.is_ssl:
                add(self._desk, Desk.LINGERED_TLS)
            elif not isinstance(connection, TransferableHttpTools | TransferableH11):
                add(self._desk, Desk.LINGERED_PROTOCOL)


def _speaks_http(connection: Any) -> bool:
    """One of uvicorn's HTTP protocols, not one of its WebSocket protocols."""
    return hasattr(connection, "timeout_keep_alive_handler")
