"""Writes the worker's desk of the scoreboard, from the event loop: a heartbeat proves that the loop turns."""

from __future__ import annotations

import asyncio
import time

from uvicorn.server import ServerState

from reuseport.scoreboard import Desk
from reuseport.worker import bond

BEAT = 0.1
"""Seconds between heartbeats."""
REARM = 1.0
"""Seconds between renewals of the watchdog that ends a worker which hangs without a launcher."""


class Meter:
    """Beats from `start` until the loop ends; costs nothing per request."""

    def __init__(self, desk: memoryview[int], state: ServerState, patience: float) -> None:
        """`patience`: seconds of silence after which the process ends itself; 0 for never."""
        self.desk = desk
        self._state = state
        self._patience = patience
        self._rearm_at = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """The first beat now, and one every BEAT seconds while the loop turns."""
        self._loop = loop
        self._due = loop.time()
        self._beat()

    def end_within(self, seconds: float) -> None:
        """The launcher is gone: end this process after `seconds` even if its loop goes on turning."""
        self._patience = 0.0
        bond.end_within(seconds)

    def _beat(self) -> None:
        now = self._loop.time()
        desk = self.desk
        desk[Desk.LAG] = max(0, int((now - self._due) * 1e9))
        desk[Desk.IN_FLIGHT] = len(self._state.tasks)
        desk[Desk.CONNECTIONS] = len(self._state.connections)
        desk[Desk.REQUESTS] = self._state.total_requests
        desk[Desk.HEARTBEAT] = time.monotonic_ns()
        if self._patience and now >= self._rearm_at:
            self._rearm_at = now + REARM
            bond.end_within(self._patience)
        self._due = now + BEAT
        self._loop.call_at(self._due, self._beat)
