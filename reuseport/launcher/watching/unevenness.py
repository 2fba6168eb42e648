"""Who is busier than others: looks while anybody has something to do, and has connections passed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.burden import WINDOW
from reuseport.launcher.deciding.events import Action
from reuseport.launcher.deciding.rebalancing import Move, Rebalancing
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.process import Process
from reuseport.launcher.watching.readings import Readings
from reuseport.messages import Pass


class Unevenness:
    """From `begin` to `pause`, again and again. `carry_out` gets what the busiest are to be told."""

    def __init__(
        self,
        loop: GuardedLoop,
        supervisor: Supervisor,
        processes: Mapping[int, Process],
        readings: Readings,
        carry_out: Callable[[Sequence[Action]], None],
    ) -> None:
        self._loop = loop
        self._supervisor = supervisor
        self._processes = processes
        self._readings = readings
        self._carry_out = carry_out
        self._rebalancing = Rebalancing()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Look from now on; again does nothing."""
        if self._timer is None:
            self._timer = self._loop.call_later(WINDOW, self._look)

    def pause(self) -> None:
        """All rest: until somebody comes there is nothing to pass on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Have those who are busiest pass connections on, if that makes anything better."""
        self._timer = self._loop.call_later(WINDOW, self._look)
        for move in self._loop.attempt(self._moves) or ():
            self._carry_out([ev.Tell(move.worker, Pass(move.count, move.slot))])

    def _moves(self) -> list[Move]:
        readings = {
            slot.number: self._readings.of(worker, process.pid)
            for slot in self._supervisor.slots.values()
            if (worker := slot.serving()) is not None
            and (process := self._processes.get(worker.number)) is not None
        }
        return self._rebalancing.look(readings, time.monotonic_ns())
