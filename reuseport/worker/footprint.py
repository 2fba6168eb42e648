"""The worker's proportional set size, in its desk, for as long as somebody wants to know.

The kernel lets a process see its own page tables whatever its privileges. It walks them for a millisecond or
many, so in a thread, and never for nobody: the launcher's word WATCHED says when somebody last asked.
"""

from __future__ import annotations

import asyncio
import time

from reuseport.scoreboard import Desk, SlotWord

EVERY = 10.0
"""Seconds between two readings."""
WANTED_NS = 30_000_000_000
"""For so long after somebody asked, the next one is expected: Prometheus comes every 15 seconds, or 30."""


class Memory:
    """Writes PSS. `look` is called about ten times a second, in the event loop."""

    def __init__(self, desk: memoryview[int], row: memoryview[int]) -> None:
        self._desk = desk
        self._row = row
        self._next = 0.0
        self._reading: asyncio.Future[int] | None = None

    def look(self) -> None:
        """Begin to read, if somebody wants to know and the last reading is old."""
        watched = self._row[SlotWord.WATCHED]
        if not watched or self._reading is not None:
            return
        now = time.monotonic_ns()
        if now < self._next or now - watched > WANTED_NS:
            return
        self._next = now + EVERY * 1e9
        self._reading = asyncio.get_running_loop().run_in_executor(None, pss)
        self._reading.add_done_callback(self._write)

    def _write(self, reading: asyncio.Future[int]) -> None:
        self._reading = None
        if not reading.cancelled():
            self._desk[Desk.PSS] = reading.result()


def pss() -> int:
    """Bytes, each page that n processes share counted as 1/n (proc_pid_smaps(5)); 0 where it is hidden."""
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:  # noqa: PTH123 - a kernel file
            lines = file.readlines()
    except OSError:
        return 0  # before Linux 4.14, or a sandbox
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Pss:")), 0)
