"""The one way in which the launcher reads memory that workers write: whatever stands there, what it gets is a
figure that can be true, and nothing raises.

A worker that was taken over writes what it likes, also at the desks of others. So each word has a bound that
no honest worker reaches, most of them in proportion to how long its worker has lived, and a word that grows
is believed only when it has. What is not believed is as it was before (a word that grows) or 0 (any other),
is counted, and told by the chronicle. It condemns nobody: who sits there need not be who wrote it.

A lie that can be true is believed: it misleads the balance, as it would have from the start.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from reuseport.launcher.deciding.burden import Reading
from reuseport.launcher.deciding.slots import Worker
from reuseport.scoreboard import COUNTERS, ROW_WORDS, Desk, Scoreboard, SlotWord

EARLY_NS = 10_000_000_000
"""A worker's process is a little older than its desk: it had so much time before, or less."""
COUNT_NS = 100
"""Nanoseconds that anything takes which is counted: a hundred times as fast as a worker can."""
LARGEST = 2**63 - 1
"""The sum of durations is bounded by nothing smaller in the long run."""
MOST_AT_ONCE = 2**31 - 1
"""Connections, and requests on them: each has a descriptor, which is an int."""
MOST_BYTES = 2**53
"""The largest whole number that JSON is sure to carry."""

LAST_MOMENT = 253_402_300_799
"""9999-12-31, which is how a certificate says that it does not end (RFC 5280, 4.1.2.5)."""

_GROWS = frozenset({*COUNTERS, Desk.HEARTBEAT, Desk.WORK})
_AT_ONCE = frozenset({Desk.LOAD, Desk.IN_FLIGHT, Desk.CONNECTIONS, Desk.ACTIVE, Desk.WEBSOCKETS})


@dataclass(slots=True)
class _Seat:
    """What was believed of one desk since its worker was given it."""

    since: int
    believed: list[int] = field(default_factory=lambda: [0] * ROW_WORDS)
    doubted: dict[int, int] = field(default_factory=dict)
    """By word, what was last seen there and not believed: it counts once."""


class Readings:
    """Borrows the scoreboard. `clock`: CLOCK_MONOTONIC in nanoseconds."""

    def __init__(self, scoreboard: Scoreboard, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._scoreboard = scoreboard
        self._clock = clock
        self._cpus = os.sysconf("SC_NPROCESSORS_CONF")
        self._seats: dict[tuple[int, int], _Seat] = {}
        self._rows = [_Seat(clock()) for _ in range(scoreboard.slots)]
        self.doubts: collections.Counter[int] = collections.Counter()
        """Figures that were not believed, by slot."""
        self.doubted: dict[int, str] = {}
        """The word that was not, last, by slot."""

    def sit(self, slot: int, desk: int) -> None:
        """A worker is about to be given this desk, whose words are 0 from now on."""
        self._scoreboard.clear(slot, desk)
        self._seats[slot, desk] = _Seat(self._clock())

    def leave(self, slot: int, desk: int) -> Sequence[int]:
        """The worker is gone: its counters for the last time, in the order of COUNTERS."""
        counted = self.counters(slot, desk)
        self._seats.pop((slot, desk), None)
        self._scoreboard.clear(slot, desk)
        return counted

    def word(self, slot: int, desk: int, word: Desk) -> int:
        """Any word of a desk; 0 where nobody sits."""
        seat = self._seats.get((slot, desk))
        if seat is None:
            return 0
        return self._believed(slot, seat, word, self._scoreboard.word(slot, desk, word))

    def everywhere(self, word: Desk) -> Sequence[int]:
        """The same of all desks at which somebody sits."""
        return [self.word(slot, desk, word) for slot, desk in self._seats]

    def rests(self, slot: int, desk: int) -> bool:
        """The worker has nothing to do, has said so, and turns rarely."""
        return bool(self.word(slot, desk, Desk.RESTING)) and not self.word(slot, desk, Desk.LOAD)

    def counters(self, slot: int, desk: int) -> Sequence[int]:
        """All that the worker at this desk has counted so far, in the order of COUNTERS."""
        seat = self._seats.get((slot, desk))
        if seat is None:
            return [0] * len(COUNTERS)
        words = self._scoreboard.desk(slot, desk).tolist()
        believed, most = seat.believed, self._count(seat)
        counted = []
        for counter in COUNTERS:
            found = words[counter]
            # Here already, for a scrape asks for thousands: no bound is below that of what is merely counted.
            if believed[counter] <= found <= most:
                believed[counter] = found
            else:
                found = self._believed(slot, seat, counter, found)
            counted.append(found)
        return counted

    def assigned(self, slot: int) -> int:
        """Connections that the steering program has given to the slot."""
        row, found = self._rows[slot], self._scoreboard.slot(slot)[SlotWord.ASSIGNED]
        before = row.believed[SlotWord.ASSIGNED]
        if before <= found <= self._count(row):
            row.believed[SlotWord.ASSIGNED] = before = found
        else:
            self._doubt(slot, row, SlotWord.ASSIGNED, found)
        return before

    def of(self, worker: Worker, pid: int) -> Reading:
        """One look at the worker's desk and, if it has anything to do, at its main thread."""
        place = worker.slot, worker.desk
        active = self.word(*place, Desk.ACTIVE)
        return Reading(
            worker=worker.number,
            ready=worker.attends() and not worker.leaving,
            rests=self.rests(*place),
            heartbeat=self.word(*place, Desk.HEARTBEAT),
            load=self.word(*place, Desk.LOAD),
            work=self.word(*place, Desk.WORK),
            requests=self.word(*place, Desk.REQUESTS),
            cpu=self.word(*place, Desk.CPU),
            lag=self.word(*place, Desk.LAG),
            active=active,
            rebalanced=self.word(*place, Desk.REBALANCED),
            awake=awake(pid) if active else None,
        )

    # ── what is believed ──────────────────────────────────────────────────────────────────────────────

    def _believed(self, slot: int, seat: _Seat, word: Desk, found: int) -> int:
        before = seat.believed[word]
        if found == before:
            return found
        grows = word in _GROWS
        # Read before the clock: who wrote a time did so earlier.
        if (not grows or before <= found) and found <= self._most(seat, word):
            seat.believed[word] = found
            return found
        self._doubt(slot, seat, word, found)
        return before if grows else 0

    def _most(self, seat: _Seat, word: Desk) -> int:
        """The largest that this word can be by now."""
        match word:
            case Desk.HEARTBEAT | Desk.ACCEPT_WAIT:
                # Since the host was started; who was accepted had perhaps waited for a predecessor.
                return self._clock()
            case Desk.CPU:
                return self._lived(seat) * self._cpus
            case Desk.LAG | Desk.COLLECTING:
                return self._lived(seat)
            case Desk.DURATION_SUM | Desk.WORK:
                return min(self._lived(seat) * MOST_AT_ONCE, LARGEST)
            case Desk.CERTIFICATE:
                return LAST_MOMENT
            case Desk.PSS:
                return MOST_BYTES
            case Desk.RESTING:
                return 1
            case _ if word in _AT_ONCE:
                return MOST_AT_ONCE
            case _:
                return self._count(seat)

    def _lived(self, seat: _Seat) -> int:
        return self._clock() - seat.since + EARLY_NS

    def _count(self, seat: _Seat) -> int:
        return self._lived(seat) // COUNT_NS

    def _doubt(self, slot: int, seat: _Seat, word: Desk | SlotWord, found: int) -> None:
        if seat.doubted.get(word) != found:
            seat.doubted[word] = found
            self.doubts[slot] += 1
            self.doubted[slot] = word.name


def awake(pid: int) -> int | None:
    """Nanoseconds for which the process's main thread has run, or waited to be run, ever.

    /proc/PID/schedstat (Documentation/scheduler/sched-stats.rst in the kernel's source). None where it cannot
    be had: a kernel without CONFIG_SCHED_INFO, a sandbox.
    """
    try:
        with open(f"/proc/{pid}/schedstat", "rb", buffering=0) as stream:  # noqa: PTH123 - four times a second
            ran, waited, _ = stream.read().split()
    except (OSError, ValueError):
        return None
    return int(ran) + int(waited)
