"""What the worker has to do right now, written into its desk at each change: others see it while it works.

uvicorn keeps a set of the tasks that answer requests; `Load` is that set. A task counts from when uvicorn
adds it, before its first step, to when it has ended. A connection that was accepted and has not asked yet
counts as well: its request is a moment away, and until then nothing else would tell that the worker has it.
One that stays silent for a while is no load any more.

Costs a store into shared memory when a request begins and when it ends, three once in a while, and no system
call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from reuseport.scoreboard import Desk, SlotWord

Connection: TypeAlias = asyncio.Protocol

# An IntEnum as an index takes longer than the store.
_HEARTBEAT, _LOAD, _SETTLED, _ACCEPTED, _WORK = (
    int(word) for word in (Desk.HEARTBEAT, Desk.LOAD, Desk.SETTLED, Desk.ACCEPTED, Desk.WORK)
)
FULL = 1 << 20
"""Load of a worker that has no room: more than any other has."""
_clock = time.monotonic_ns
FRESH = 1_000_000
"""Nanoseconds for which HEARTBEAT and WORK are recent enough. Both are of the same moment."""
_LARGEST = 2**63 - 1
"""Beyond it ASSIGNED is nobody's count, and the next connection must fit SETTLED, too."""


class Load(set[Any]):
    """The tasks. Writes LOAD, WORK, ACCEPTED and SETTLED, and a heartbeat with each. In the event loop only.

    `begin` and `end` run with every request: they repeat what `beat` does, for a call costs more.
    """

    def __init__(self, desk: memoryview[int], row: memoryview[int]) -> None:
        super().__init__()
        self.on_work: Callable[[], None] | None = None
        """Called when a request or a connection comes, if anybody wants to know."""
        self._now = _clock()
        self._due = 0
        """When the heartbeat is not fresh any more."""
        self._running = 0
        """Tasks, as last told."""
        self.desk = self._desk = desk
        self._row = row
        self._work = 0
        # Not read back: somebody else may have written there.
        self._accepted = self._settled = 0
        self._newcomers: set[Connection] = set()
        self._silent: set[Connection] = set()
        """Newcomers of the time before the last `forget`."""
        self._waiting = 0
        """Both together, and FULL."""
        self._full = 0
        self._excess = 0

    def add(self, task: Any, /) -> None:
        """A request begins. What uvicorn's protocols call."""
        self.begin(task)

    def begin(self, task: Any, /) -> int:
        """A request begins; when: nanoseconds, CLOCK_MONOTONIC."""
        set.add(self, task)
        now = _clock()
        running, desk = self._running, self._desk
        self._work += (now - self._now) * running
        self._now = now
        self._running = running = len(self)
        if now >= self._due:
            # First: load beside the heartbeat of a rest that is just over would look like a blocked worker's.
            self._due = now + FRESH
            desk[_HEARTBEAT] = now
            desk[_WORK] = self._work
        desk[_LOAD] = running + self._waiting
        if self.on_work is not None:
            self.on_work()
        return now

    def discard(self, task: Any, /) -> None:
        """A request has ended."""
        self.end(task, _clock())

    def end(self, task: Any, now: int, /) -> None:
        """A request has ended, at `now` or a moment later: who has just looked at the clock need not do so
        again.
        """
        set.discard(self, task)
        if now > self._now:
            self._work += (now - self._now) * self._running
            self._now = now
        self._running = running = len(self)
        desk = self._desk
        if now >= self._due:
            self._due = now + FRESH
            desk[_HEARTBEAT] = now
            desk[_WORK] = self._work
        desk[_LOAD] = running + self._waiting

    def beat(self) -> None:
        """The event loop turns, whether anything has changed or not."""
        now = _clock()
        self._work += (now - self._now) * self._running
        self._now = now
        self._due = now + FRESH
        desk = self._desk
        desk[_HEARTBEAT] = now
        desk[_LOAD] = self._running + self._waiting
        desk[_WORK] = self._work

    def stir(self) -> None:
        """Something has come that is not counted here, and a request may follow."""
        self.beat()
        if self.on_work is not None:
            self.on_work()

    def busy(self) -> bool:
        """Something is to be done, or about to be: a request runs, or somebody has not asked yet."""
        return bool(self._running or self._waiting)

    def settled(self) -> bool:
        """Nothing is known to be under way to us."""
        return not self._excess

    def even(self) -> bool:
        """SETTLED is ASSIGNED, so with nobody in the accept queues there is nothing to settle."""
        return self._row[SlotWord.ASSIGNED] == self._settled

    # ── connections that have not asked yet ───────────────────────────────────────────────────────────

    def arrive(self, connection: Connection, *, assigned: bool) -> None:
        """Accepted; `assigned`: from the slot's own listeners, where the kernel counts what it assigns."""
        self._newcomers.add(connection)
        self._waiting += 1
        self.beat()
        desk = self._desk
        desk[_ACCEPTED] = self._accepted = self._accepted + 1
        if assigned:
            # Last: in between it counts twice, which is better than not at all.
            desk[_SETTLED] = self._settled = self._settled + 1
        if self.on_work is not None:
            self.on_work()

    def ask(self, connection: Connection, task: Any) -> int:
        """Its first request begins; when."""
        self._forget(connection)
        return self.begin(task)

    def leave(self, connection: Connection) -> None:
        """It will not ask: it has gone, or become something else."""
        self._forget(connection)
        self.beat()

    def fill(self, *, full: bool) -> None:
        """There is no room for another connection: as much load as nobody has who has room."""
        if full != bool(self._full):
            self._full = FULL if full else 0
            self._count_the_waiting()
            self.beat()

    def _count_the_waiting(self) -> None:
        self._waiting = len(self._newcomers) + len(self._silent) + self._full

    def _forget(self, connection: Connection) -> None:
        self._newcomers.discard(connection)
        self._silent.discard(connection)
        # As `_count_the_waiting`, without the call.
        self._waiting = len(self._newcomers) + len(self._silent) + self._full

    @property
    def expects(self) -> int:
        """How many of those who were accepted are about to ask."""
        return self._waiting

    def forget(self) -> None:
        """Call every second: who has said nothing since the last call but one is not about to.

        A task that was cancelled before its first step has never come to discard itself.
        """
        for task in [task for task in self if task.done()]:
            self.discard(task)
        if self._newcomers or self._silent:
            self._silent = self._newcomers
            self._newcomers = set()
            self._count_the_waiting()
            self.beat()

    # ── what the kernel has assigned and we have not accepted ─────────────────────────────────────────

    def settle(self, waiting: int) -> None:
        """Bring SETTLED in line with ASSIGNED, given how many connections wait in the slot's accept queues,
        read before.

        What was assigned, is not settled and does not wait has its handshake under way; or it never comes,
        because the client vanished, or a sibling or our predecessor accepted it. What stays from one call to
        the next is taken for the latter. Less than nothing is what nobody assigned: it came by hash.
        """
        excess = self._taken(waiting) - self._settled
        lost = excess if excess < 0 else min(excess, self._excess)
        if lost:
            self._desk[_SETTLED] = self._settled = self._settled + lost
        self._excess = excess - lost

    def settle_all(self, waiting: int) -> None:
        """The same at the start and after a standstill: what was assigned and does not wait is another's."""
        self._desk[_SETTLED] = self._settled = self._taken(waiting)

    def _taken(self, waiting: int) -> int:
        """How many of those assigned do not wait."""
        return min(max(0, self._row[SlotWord.ASSIGNED] - waiting), _LARGEST)
