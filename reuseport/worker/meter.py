"""Writes the worker's desk of the scoreboard, from the event loop: a heartbeat proves that the loop turns."""

from __future__ import annotations

import asyncio
import time

from uvicorn.server import ServerState

from reuseport.scoreboard import Desk

BEAT = 0.1
"""Seconds between heartbeats."""


class Meter:
    """Beats from `start` until the loop ends; costs nothing per request."""

    def __init__(self, desk: memoryview[int], state: ServerState) -> None:
        self.desk = desk
        self._state = state

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """The first beat now, and one every BEAT seconds while the loop turns."""
        self._loop = loop
        self._due = loop.time()
        self._beat()

    def _beat(self) -> None:
        now = self._loop.time()
        desk = self.desk
        desk[Desk.LAG] = max(0, int((now - self._due) * 1e9))
        desk[Desk.IN_FLIGHT] = len(self._state.tasks)
        desk[Desk.CONNECTIONS] = len(self._state.connections)
        desk[Desk.REQUESTS] = self._state.total_requests
        desk[Desk.HEARTBEAT] = time.monotonic_ns()
        self._due = now + BEAT
        self._loop.call_at(self._due, self._beat)
