"""Writes the worker's desk of the scoreboard, from the event loop: a heartbeat proves that the loop turns.

A worker that has something to do beats every BEAT seconds, so that its silence says soon that it is blocked.
One that has nothing to do does so every PAUSE seconds, while anybody is connected: who asks on a connection
that is kept is seen by us alone, and the rescue must know soon that we do not look. With nobody connected it
**rests**, says so (RESTING), and turns once a second: who connects waits in a queue that others see, too.
What changes with each request is `load`'s; here is what may be as old as that.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Sequence

from reuseport.kernel.queue import accept_queue
from reuseport.scoreboard import Desk
from reuseport.worker.protocol.connection import State

BEAT = 0.01
"""Seconds between heartbeats while there is something to do."""
PAUSE = 0.1
"""Seconds between heartbeats otherwise, and between updates of all other words."""
REST = 1.0
"""The same at rest; and between what is due every second, such as uvicorn's Date header."""
IDLE = 3
"""Beats with nothing to do after which it rests: figures of the last thing that was done are told by then."""
BLOCKED = 0.02
"""Seconds of lateness after which others have noticed."""


class Meter:
    """Beats from `start` until the loop ends."""

    def __init__(self, desk: memoryview[int], state: State) -> None:
        self.desk = desk
        self._state = state
        self.on_beat: Callable[[], None] | None = None
        """Called with every beat, if anybody wants to be."""
        self._lag = 0.0
        self._seen = -1
        self._idle = 0
        """Beats in a row with nothing to do and nobody connected."""

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        listeners: Sequence[socket.socket],
        on_publish: Sequence[Callable[[], None]] = (),
        on_second: Callable[[], object] = int,
        expect: Callable[[float], object] = abs,
    ) -> None:
        """The first beat now. `listeners` are the slot's own; `on_publish` is called every PAUSE seconds, or
        REST, `on_second` every second, and `expect` each time the next beat is set, with the seconds until
        then, or that nobody is to expect one.
        """
        self._loop = loop
        self._expect = expect
        self._listeners = [listener for listener in listeners if listener.family != socket.AF_UNIX]
        self._on_publish = on_publish
        self._on_second = on_second
        now = loop.time()
        self._due = self._publish_at = self._second_at = now
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
        if self.on_beat is not None:
            self.on_beat()
        rested = self._idle >= IDLE
        if rested or now >= self._publish_at:
            self._publish_at = now + PAUSE
            self._publish()
        if rested or now >= self._second_at:
            self._second_at = now + REST
            # A connection that has not asked for so long is no load any more.
            load.forget()
            self._on_second()
        self._set_next(now)

    def _set_next(self, now: float) -> None:
        load = self._state.load
        work = self.desk[Desk.WORK]
        busy, self._seen = load.busy() or work != self._seen, work
        self._idle = 0 if busy or self._state.connections or not load.settled() else self._idle + 1
        rests = self._idle >= IDLE
        self.desk[Desk.RESTING] = rests
        self._due = now + (BEAT if busy else REST if rests else PAUSE)
        load.on_work = None if busy else self._quicken
        self._timer = self._loop.call_at(self._due, self._beat)
        if not rests:
            self._expect(self._due - now)
        elif self._idle == IDLE:
            self._expect(math.inf)  # with nobody connected there is nobody to rescue

    def _quicken(self) -> None:
        """Something has come while there was nothing to do."""
        self._state.load.on_work = None
        self._idle = 0
        self.desk[Desk.RESTING] = 0
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
        if self._idle < IDLE or not state.load.even():
            state.load.settle(self._waiting())
        for call in self._on_publish:
            call()

    def _waiting(self) -> int:
        """Connections in the slot's accept queues."""
        return sum(accept_queue(each).waiting for each in self._listeners if each.fileno() >= 0)
