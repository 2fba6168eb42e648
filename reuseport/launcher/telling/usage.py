"""Memory and descriptors of the workers, from /proc by psutil, read when somebody wants to see them.

Some 100 µs a worker, so in a thread. What the kernel hides from us is None. The proportional set size would
be hidden nearly always (ptrace(2): our capabilities are fewer than the workers'): they measure it themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from reuseport.records import record

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    import psutil

FRESH = 5.0
"""Seconds for which what was read is good enough."""


@record(frozen=True, slots=True)
class Used:
    """Of one process: resident set size in bytes, open descriptors."""

    rss: int | None = None
    open_fds: int | None = None


NOTHING = Used()


class Usage:
    """What was read last, by pid. Owns its thread, which exists once somebody has looked."""

    def __init__(self) -> None:
        self._used: dict[int, Used] = {}
        self._read_at = float("-inf")
        self._thread: ThreadPoolExecutor | None = None
        self._reading: asyncio.Future[dict[int, Used]] | None = None

    def of(self, pid: int) -> Used:
        """As of the last look; of who came later nothing is known."""
        return self._used.get(pid, NOTHING)

    async def look(self, pids: Collection[int]) -> None:
        """Read again, unless what is known is fresh and has everybody in it. Callers share one reading."""
        if self._reading is None:
            now = time.monotonic()
            if now - self._read_at < FRESH and self._used.keys() >= set(pids):
                return
            if self._thread is None:
                from concurrent.futures import ThreadPoolExecutor

                self._thread = ThreadPoolExecutor(1, "usage")
            loop = asyncio.get_running_loop()
            self._reading = loop.run_in_executor(self._thread, _read, sorted(pids))
            self._reading.add_done_callback(self._done)
            self._read_at = now
        await asyncio.shield(self._reading)

    def _done(self, reading: asyncio.Future[dict[int, Used]]) -> None:
        self._reading = None
        # An error is theirs who wait for it. Raised here, in a callback of ours, it would end the launcher.
        if not reading.cancelled() and reading.exception() is None:
            self._used = reading.result()

    def close(self) -> None:
        """End the thread; a reading under way is waited for."""
        if self._thread is not None:
            self._thread.shutdown()


def _read(pids: Collection[int]) -> dict[int, Used]:
    import psutil  # in the thread, and only for whoever looks

    used = {}
    for pid in pids:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                rss = process.memory_info().rss
            used[pid] = Used(rss, _open_fds(process))
        except psutil.NoSuchProcess:
            continue
        except (psutil.AccessDenied, OSError):
            # A /proc mounted with hidepid; or no descriptor is free to read it with.
            used[pid] = NOTHING
    return used


def _open_fds(process: psutil.Process) -> int | None:
    import psutil

    try:
        return process.num_fds()
    except psutil.Error:
        return None
