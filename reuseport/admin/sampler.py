"""The last minutes as samples, one a second: what the charts begin with."""

from __future__ import annotations

import asyncio
import collections

from reuseport.instance import Instance, Sample

STEP = 1.0
"""Seconds between two samples."""
ROOM = 300


class Sampler:
    """Takes samples from `begin` to `end`; a second `begin` is none."""

    def __init__(self, loop: asyncio.AbstractEventLoop, instance: Instance) -> None:
        self.samples: collections.deque[Sample] = collections.deque(maxlen=ROOM)
        self._loop = loop
        self._instance = instance
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The first one now."""
        if self._timer is None:
            self._take()

    def _take(self) -> None:
        self._timer = self._loop.call_later(STEP, self._take)
        sample = self._instance.sample()
        # The clock may have been set back: a chart goes one way.
        while self.samples and self.samples[-1]["time"] >= sample["time"]:
            self.samples.pop()
        self.samples.append(sample)

    def end(self) -> None:
        """Take no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
