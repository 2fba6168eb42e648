"""What the worker has to do right now, written into its desk at each change: others see it while it works.

uvicorn keeps a set of running requests; `Load.running` is that set, and writes as it changes. A connection
that was accepted and has not asked yet counts as well: its request is a moment away, and until then nothing
else would tell that the worker has it. One that stays silent for a while is no load any more.

Costs three stores into shared memory when a request begins and when it ends, and no system call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from reuseport.scoreboard import Desk, SlotWord

Connection: TypeAlias = asyncio.Protocol

_HEARTBEAT, _LOAD, _SETTLED, _ACCEPTED, _WORK = (
    int(word) for word in (Desk.HEARTBEAT, Desk.LOAD, Desk.SETTLED, Desk.ACCEPTED, Desk.WORK)
)


class Running(set[Any]):
    """Requests being answered: uvicorn adds their tasks and discards them. Nothing else changes it."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load

    def add(self, task: Any, /) -> None:
        running = len(self)
        set.add(self, task)
        self._load.publish(running, len(self))
        if self._load.on_work is not None:
            self._load.on_work()

    def discard(self, task: Any, /) -> None:
        running = len(self)
        set.discard(self, task)
        self._load.publish(running, len(self))


class Load:
    """Writes LOAD, WORK, ACCEPTED and SETTLED, and a heartbeat with each of them. In the event loop only."""

    def __init__(self, desk: memoryview[int], row: memoryview[int]) -> None:
        self.running = Running(self)
        self.on_work: Callable[[], None] | None = None
        """Called when a request begins, if anybody wants to know."""
        self._desk = desk
        self._row = row
        self._work = 0
        self._now = time.monotonic_ns()
        self._newcomers: set[Connection] = set()
        self._silent: set[Connection] = set()
        """Newcomers of the time before the last `forget`."""
        self._waiting = 0
        """Both together: every change is followed by a beat."""
        self._excess = 0

    def publish(self, before: int, now_running: int) -> None:
        """So many requests have run since the last call, and so many run from now on."""
        now = time.monotonic_ns()
        self._work += (now - self._now) * before
        self._now = now
        desk = self._desk
        # First: load beside the heartbeat of a rest that is just over would look like a blocked worker's.
        desk[_HEARTBEAT] = now
        desk[_LOAD] = now_running + self._waiting
        desk[_WORK] = self._work

    def beat(self) -> None:
        """The event loop turns, whether anything has changed or not."""
        running = len(self.running)
        self._waiting = len(self._newcomers) + len(self._silent)
        self.publish(running, running)

    # ── connections that have not asked yet ───────────────────────────────────────────────────────────

    def arrive(self, connection: Connection, *, assigned: bool) -> None:
        """Accepted; `assigned`: from the slot's own listeners, where the kernel counts what it assigns."""
        self._newcomers.add(connection)
        self.beat()
        self._desk[_ACCEPTED] += 1
        if assigned:
            # Last: in between it counts twice, which is better than not at all.
            self._desk[_SETTLED] += 1

    def asked(self, connection: Connection) -> None:
        """Its first request has begun, or it has gone without one."""
        self._newcomers.discard(connection)
        self._silent.discard(connection)
        self.beat()

    def forget(self) -> None:
        """Call every second: who has said nothing since the last call but one is not about to."""
        if self._newcomers or self._silent:
            self._silent = self._newcomers
            self._newcomers = set()
            self.beat()

    # ── what the kernel has assigned and we have not accepted ─────────────────────────────────────────

    def settle(self, waiting: int) -> None:
        """Bring SETTLED in line with ASSIGNED, given how many connections wait in the slot's accept queues,
        read before.

        What was assigned, is not settled and does not wait has its handshake under way; or it never comes,
        because the client vanished, or a sibling or our predecessor accepted it. What stays from one call to
        the next is taken for the latter. Less than nothing is what nobody assigned: it came by hash.
        """
        settled = self._desk[_SETTLED]
        excess = max(0, self._row[SlotWord.ASSIGNED] - waiting) - settled
        lost = excess if excess < 0 else min(excess, self._excess)
        if lost:
            self._desk[_SETTLED] = settled + lost
        self._excess = excess - lost

    def settle_all(self, waiting: int) -> None:
        """The same at the start and after a standstill: what was assigned and does not wait is another's."""
        self._desk[_SETTLED] = max(0, self._row[SlotWord.ASSIGNED] - waiting)
