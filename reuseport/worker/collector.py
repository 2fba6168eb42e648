"""Python's garbage collector, which stops the worker while it looks: not at what is there to stay.

What the application has made by the end of its startup mostly lives as long as the worker. It is collected
once, before the first client, and frozen (gc.freeze): a full collection looks only at what came later.
With a heap of a million objects and 800,000 more to come, the longest pause was 119 to 231 ms, against 231
to 264. Of 7,500 requests to such a heap, 500 due a second, each of which keeps a hundred new lists, one in
a hundred took 186 and 254 ms at least, against 532 and 651, and the slowest 244 and 321, against 616 and
708 (two rounds in turns, on a machine that others used, too). The thresholds stay as they are: 5,000
instead of 700 made fewer pauses and no shorter ones.

What was frozen and is thrown away later is still freed, unless it refers to itself in a circle: for an
application that replaces large circular structures there is --no-gc-freeze.
"""

from __future__ import annotations

import gc
import time
from typing import Any

from reuseport.scoreboard import Desk


class Collector:
    """Adds up how long the worker was stopped, in its desk. One a process, until its end."""

    def __init__(self, desk: memoryview[int]) -> None:
        self._desk = desk
        self._begun = 0
        self._stopped = 0
        gc.callbacks.append(self._note)

    def freeze(self) -> None:
        """The application is up: what there is, is there to stay."""
        gc.collect()
        gc.freeze()

    def thaw(self) -> None:
        """Look at everything: --no-gc-freeze. A mold has frozen what it had imported, so that its workers
        share that memory until they write there.
        """
        gc.unfreeze()

    def _note(self, phase: str, _about: dict[str, Any]) -> None:
        # In whatever thread has made one object too many; collections do not overlap.
        if phase == "start":
            self._begun = time.monotonic_ns()
        elif self._begun:
            self._stopped += time.monotonic_ns() - self._begun
            self._begun = 0
            self._desk[Desk.COLLECTING] = self._stopped
