"""One request on each new connection: where it goes, and how long it waits. Events in a heap, nothing else.

A worker is an event loop: it does one thing after the other, and while it does the first of two that have
come it has already accepted the second (libuv accepts one connection each turn), which nobody can take from
it any more. What it has not accepted waits at its listener, at the listener that all share, or in the master.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Worker:
    """What every worker is like. Seconds."""

    overhead: float = 0.0003
    """CPU time of a request besides its work: connection, parser, response."""
    ahead: int = 1
    """Connections accepted while one is being served."""
    late: float = 0.025
    """From so long without a turn on, a loop is known to be late."""
    relief: float = 0.040
    """After so long at the listener of a late worker, a sibling accepts, idle or not."""
    patience: float = 0.001
    """After so long in one request, siblings that have nothing to do steal."""
    near: int = 16
    """Siblings for whom a worker does: the next ones."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A way to distribute. `serial` is what one process spends on each connection before a worker does."""

    name: str
    rule: Callable[[Hall], Rule]
    relieved: bool = False
    stealing: bool = False
    serial: float = 0.0


class Hall:
    """The workers at one moment."""

    def __init__(
        self, mode: Mode, workers: int, worker: Worker, arrivals: Floats, works: Floats, seed: int
    ) -> None:
        self.chance = random.Random(seed)
        self.workers, self.worker = workers, worker
        self.load: NDArray[np.int64] = np.zeros(workers, dtype=np.int64)
        """Requests that are a worker's: being served, accepted, or at its listener."""
        self.turned: Floats = np.full(workers, np.inf)
        """When it began what it does; infinite while it waits."""
        self.accepted: list[deque[int]] = [deque() for _ in range(workers)]
        self.latency: Floats = np.full(len(arrivals), np.nan)
        self.mode, self._arrivals, self._works = mode, arrivals, works
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = count()
        self.rule = mode.rule(self)

    def run(self) -> Floats:
        """The latency of every request."""
        for job, at in enumerate(served_in_turn(self._arrivals, self.mode.serial)):
            self._until(at)
            self.rule.place(job, at)
        self._until(np.inf)
        return self.latency

    def later(self, at: float, act: Callable[[float], None]) -> None:
        """Do something then."""
        heapq.heappush(self._events, (at, next(self._order), act))

    def idle(self, worker: int) -> bool:
        """It waits for something to come."""
        return bool(self.turned[worker] == np.inf)

    def late(self, at: float) -> NDArray[np.bool_]:
        """Whose loop has not turned for too long."""
        return at - self.turned > self.worker.late

    def wake(self, worker: int, at: float) -> None:
        """It looks for something to do, if it waits."""
        if self.idle(worker):
            self._next(worker, at)

    def _until(self, at: float) -> None:
        while self._events and self._events[0][0] <= at:
            when, _, act = heapq.heappop(self._events)
            act(when)

    def _next(self, worker: int, at: float) -> None:
        accepted = self.accepted[worker]
        job = accepted.popleft() if accepted else self.rule.first(worker, at)
        if job is None:
            self.turned[worker] = np.inf
            return
        self.turned[worker] = at
        while len(accepted) < self.worker.ahead:
            more = self.rule.take(worker, at)
            if more is None:
                break
            accepted.append(more)
        end = at + self.worker.overhead + self._works[job]
        self.latency[job] = end - self._arrivals[job]
        self.later(end, lambda when: self._ended(worker, when))

    def _ended(self, worker: int, at: float) -> None:
        self.load[worker] -= 1
        self._next(worker, at)


class Rule(Protocol):
    """Where a connection goes."""

    def place(self, job: int, at: float) -> None:
        """It has come."""

    def take(self, worker: int, at: float) -> int | None:
        """What a worker that turns accepts next."""

    def first(self, worker: int, at: float) -> int | None:
        """The same, when it has nothing to do."""


class Hash:
    """Each worker has a listener; anybody's, as addresses and ports have it. Rules below choose better."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self.waiting: list[deque[int]] = [deque() for _ in range(hall.workers)]
        self._turn = 0

    def choose(self, at: float) -> int:  # noqa: ARG002 - the others look at the clock
        return self.hall.chance.randrange(self.hall.workers)

    def place(self, job: int, at: float) -> None:
        self._put(self.choose(at), job, at)

    def take(self, worker: int, at: float) -> int | None:  # noqa: ARG002
        return self.waiting[worker].popleft() if self.waiting[worker] else None

    def first(self, worker: int, at: float) -> int | None:
        """Who has waited longest, of its own and those of siblings that are blocked: epoll(7) tells in the
        order of events. One whose worker may be done in a moment is looked at again then.
        """
        hall = self.hall
        owners = [worker] if self.waiting[worker] else []
        if hall.mode.stealing:
            for owner in self._near(worker, +1):
                blocked_at = float(hall.turned[owner]) + hall.worker.patience
                if self.waiting[owner] and at >= blocked_at:
                    owners.append(owner)
                elif self.waiting[owner]:
                    hall.later(blocked_at, lambda when: hall.wake(worker, when))
        if not owners:
            return None
        owner = min(owners, key=lambda one: self.waiting[one][0])
        hall.load[owner] -= 1
        hall.load[worker] += 1
        return self.waiting[owner].popleft()

    def _near(self, worker: int, step: int) -> list[int]:
        hall = self.hall
        return [
            (worker + step * number) % hall.workers
            for number in range(1, min(hall.worker.near, hall.workers - 1) + 1)
        ]

    def _put(self, worker: int, job: int, at: float) -> None:
        hall = self.hall
        hall.load[worker] += 1
        self.waiting[worker].append(job)
        hall.wake(worker, at)
        if hall.mode.stealing and job in self.waiting[worker]:
            # The kernel wakes one who sleeps.
            idle = next((sibling for sibling in self._near(worker, -1) if hall.idle(sibling)), None)
            if idle is not None:
                hall.wake(idle, at)
        if hall.mode.relieved and job in self.waiting[worker]:
            hall.later(at + hall.worker.relief, lambda when: self._relieve(worker, job, when))

    def _relieve(self, worker: int, job: int, at: float) -> None:
        """The least busy sibling accepts what waits at a late worker's listener, unless all are late."""
        hall = self.hall
        if job not in self.waiting[worker]:
            return
        late = hall.late(at)
        if not late[worker] or late.all():
            hall.later(at + hall.worker.late, lambda when: self._relieve(worker, job, when))
            return
        self.waiting[worker].remove(job)
        hall.load[worker] -= 1
        sibling = int(np.where(late, np.iinfo(np.int64).max, hall.load).argmin())
        hall.load[sibling] += 1
        hall.accepted[sibling].append(job)
        hall.wake(sibling, at)

    def next_in_turn(self, among: NDArray[np.bool_]) -> int:
        """The next of those, round and round."""
        places = np.flatnonzero(among)
        self._turn = int(places[np.searchsorted(places, self._turn) % len(places)])
        chosen, self._turn = self._turn, (self._turn + 1) % self.hall.workers
        return chosen


class Turns(Hash):
    """The next one, whatever it is doing."""

    def choose(self, at: float) -> int:  # noqa: ARG002
        return self.next_in_turn(np.ones(self.hall.workers, dtype=bool))


class TurnsOfTheLively(Hash):
    """The next one that is not late; the next one if all are."""

    def choose(self, at: float) -> int:
        late = self.hall.late(at)
        return self.next_in_turn(~late if not late.all() else late)


class LeastLoaded(Hash):
    """Who has least to do, equal ones in turn; late ones last. Beyond `exact` workers, of two at random."""

    exact = 64

    def choose(self, at: float) -> int:
        hall = self.hall
        if hall.workers > self.exact:
            one = hall.chance.randrange(hall.workers)
            other = (one + 1 + hall.chance.randrange(hall.workers - 1)) % hall.workers
            keys = self._keys(np.array([one, other]), at)
            return one if keys[0] <= keys[1] else other
        keys = self._keys(np.arange(hall.workers), at)
        return self.next_in_turn(keys == keys.min())

    def _keys(self, workers: NDArray[np.int64], at: float) -> NDArray[np.int64]:
        late = at - self.hall.turned[workers] > self.hall.worker.late
        return self.hall.load[workers] + (late.astype(np.int64) << 40)


class TwoChoices(LeastLoaded):
    """Of two at random, always."""

    exact = 1


class Exact(LeastLoaded):
    """Of all, however many: what our limit of 64 costs is the difference."""

    exact = 1 << 30


class Shared:
    """One listener; whoever turns accepts."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self._waiting: deque[int] = deque()

    def place(self, job: int, at: float) -> None:
        self._waiting.append(job)
        idle = np.flatnonzero(self.hall.turned == np.inf)
        if len(idle):
            self.hall.wake(int(idle[self.hall.chance.randrange(len(idle))]), at)

    def take(self, worker: int, at: float) -> int | None:  # noqa: ARG002
        if not self._waiting:
            return None
        self.hall.load[worker] += 1
        return self._waiting.popleft()

    def first(self, worker: int, at: float) -> int | None:
        return self.take(worker, at)


class Acknowledged:
    """Round robin of a master, who hands a worker the next connection only when the last is acknowledged."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall
        self._free = deque(range(hall.workers))
        self._handed: list[int | None] = [None] * hall.workers
        self._waiting: deque[int] = deque()

    def place(self, job: int, at: float) -> None:
        self._waiting.append(job)
        if self._free:
            worker = self._free.popleft()
            self._hand(worker)
            self.hall.wake(worker, at)

    def take(self, worker: int, at: float) -> int | None:  # noqa: ARG002
        job = self._handed[worker]
        if job is not None:
            self._handed[worker] = None
            self.hall.load[worker] += 1
            self._hand(worker)
        return job

    def first(self, worker: int, at: float) -> int | None:
        return self.take(worker, at)

    def _hand(self, worker: int) -> None:
        if self._waiting:
            self._handed[worker] = self._waiting.popleft()
        else:
            self._free.append(worker)


def served_in_turn(arrivals: Floats, seconds: float) -> Floats:
    """When each leaves a single server that takes so long for each, in order (Lindley's recursion)."""
    if not seconds:
        return arrivals
    begun = np.arange(len(arrivals)) * seconds
    departures: Floats = np.maximum.accumulate(arrivals - begun) + begun + seconds
    return departures


def latencies(
    mode: Mode, workers: int, arrivals: Floats, works: Floats, worker: Worker, seeds: Sequence[int] = (1,)
) -> Floats:
    """Of every request, by seed: one line each."""
    return np.array([Hall(mode, workers, worker, arrivals, works, seed).run() for seed in seeds])
