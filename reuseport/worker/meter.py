"""Writes the worker's desk of the scoreboard, from the event loop: a heartbeat proves that the loop turns.

A worker that has something to do beats every BEAT seconds, so that its silence says soon that it is blocked;
one that has nothing to do every REST seconds, so that it costs nothing. What changes with each request is
`load`'s; here is what may be as old as REST.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence

from reuseport.kernel.queue import accept_queue
from reuseport.scoreboard import Desk
from reuseport.worker.protocol.connection import State

BEAT = 0.01
"""Seconds between heartbeats while there is something to do."""
REST = 0.1
"""Seconds between heartbeats otherwise, and between updates of all other words."""
BLOCKED = 0.02
"""Seconds of lateness after which others have noticed."""
SILENCE = 1.0
"""Seconds after which a connection that has not asked yet is no load any more."""


class Meter:
    """Beats from `start` until the loop ends."""

    def __init__(self, desk: memoryview[int], state: State) -> None:
        self.desk = desk
        self._state = state
        self._lag = 0.0
        self._seen = -1

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        on_rest: Sequence[Callable[[], None]] = (),
        expect: Callable[[float], object] = abs,
    ) -> None:
        """The first beat now. `listeners` are the slot's own; `on_rest` is called every REST seconds, and
        `expect` each time the next beat is set, with the seconds until then.
        """
        self._loop = loop
        self._expect = expect
        self._listeners = [listener for listener in listeners if listener.family != socket.AF_UNIX]
        self._on_rest = on_rest
        now = loop.time()
        self._due = self._publish_at = self._forget_at = now
        self._state.load.settle_all(self._waiting())
        self._beat()

    def _beat(self) -> None:
        now = self._loop.time()
        load = self._state.load
        load.on_work = None
        late = now - self._due
        self._lag = max(self._lag, late)
        if late > BLOCKED:
            # Meanwhile siblings have accepted what was ours: at once, or the kernel goes on passing us over.
            load.settle_all(self._waiting())
        load.beat()
        if now >= self._publish_at:
            self._publish_at = now + REST
            self._publish()
        if now >= self._forget_at:
            self._forget_at = now + SILENCE
            load.forget()
        work = self.desk[Desk.WORK]
        busy, self._seen = bool(load) or work != self._seen, work
        self._due = now + (BEAT if busy else REST)
        load.on_work = None if busy else self._quicken
        self._timer = self._loop.call_at(self._due, self._beat)
        self._expect(self._due - now)

    def _quicken(self) -> None:
        """Work has come while we rest."""
        self._state.load.on_work = None
        self._timer.cancel()
        self._due = self._loop.time() + BEAT
        self._timer = self._loop.call_at(self._due, self._beat)
        self._expect(BEAT)

    def _publish(self) -> None:
        desk, state = self.desk, self._state
        desk[Desk.LAG] = int(self._lag * 1e9)
        desk[Desk.IN_FLIGHT] = len(state.tasks)
        desk[Desk.CONNECTIONS] = len(state.connections)
        desk[Desk.REQUESTS] = state.total_requests
        desk[Desk.CPU] = time.process_time_ns()
        self._lag = 0.0
        state.load.settle(self._waiting())
        for call in self._on_rest:
            call()

    def _waiting(self) -> int:
        """Connections in the slot's accept queues."""
        return sum(accept_queue(each).waiting for each in self._listeners if each.fileno() >= 0)
