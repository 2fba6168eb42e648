"""What the launcher has counted since its start: plain integers of its own, where no worker can write.

What workers count stands at their desks of the scoreboard; when one is gone, its figures are added here. So a
sum never runs backwards, and whatever a worker wrote cannot raise (watching/readings.py).
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

from reuseport.launcher.watching.readings import Readings
from reuseport.scoreboard import COUNTERS, DESKS, Desk

FOSTERED = ("crash", "stall", "scale", "drain")
"""Why a sibling accepts for a slot: its worker died, was blocked, scaled away, or taken out of service."""


class Totals:
    """The launcher's; whoever tells of something counts it here at the same moment. Borrows the readings."""

    def __init__(self, readings: Readings) -> None:
        self.readings = readings
        self.spawns: collections.Counter[str] = collections.Counter()
        """Workers spawned, by reason."""
        self.spawned: collections.Counter[int] = collections.Counter()
        """The same by slot."""
        self.restarts: collections.Counter[int] = collections.Counter()
        """Workers spawned because one was lost, by slot."""
        self.exits: collections.Counter[str] = collections.Counter()
        """Workers gone, by status: a number, the name of a signal, or "unknown"."""
        self.reloads: collections.Counter[str] = collections.Counter(done=0, aborted=0)
        self.violations = 0
        """Workers that did not keep to the protocol of the channel."""
        self.fosters: collections.Counter[str] = collections.Counter(dict.fromkeys(FOSTERED, 0))
        """Times a sibling began to accept for a slot, by cause."""
        self._gone: dict[int, list[int]] = {}
        """By slot, what workers that are gone have counted, in the order of COUNTERS."""

    def sit(self, slot: int, desk: int) -> None:
        """A worker is about to be given this desk."""
        self.readings.sit(slot, desk)

    def leave(self, slot: int, desk: int) -> None:
        """The worker that sat there is gone: what it counted stays."""
        gone = self._gone.setdefault(slot, [0] * len(COUNTERS))
        for index, count in enumerate(self.readings.leave(slot, desk)):
            gone[index] += count

    def of(self, slot: int) -> Mapping[Desk, int]:
        """What this slot's workers have counted, ever: those that are gone and those that live."""
        gone = self._gone.get(slot, [0] * len(COUNTERS))
        desks = [self.readings.counters(slot, desk) for desk in range(DESKS)]
        return dict(zip(COUNTERS, map(sum, zip(gone, *desks, strict=True)), strict=True))

    def first_expiry(self) -> int:
        """When the first of all certificates that are served ends, seconds since the epoch; 0: none is."""
        return min(filter(None, self.readings.everywhere(Desk.CERTIFICATE)), default=0)

    def one(self, slot: int, counter: Desk) -> int:
        """One of them."""
        gone = self._gone.get(slot)
        before = 0 if gone is None else gone[COUNTERS.index(counter)]
        return before + sum(self.readings.word(slot, desk, counter) for desk in range(DESKS))
