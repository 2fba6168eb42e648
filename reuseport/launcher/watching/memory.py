"""--worker-max-rss: which workers have grown past the limit (psutil, 47 µs a look)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reuseport.kernel.listener import EXHAUSTED
from reuseport.launcher.process import Process

EVERY = 1.0
"""Seconds between looks: memory grows slowly, and start before stop needs no hurry."""


class MemoryWatch:
    """Looks at resident memory; `limit` in bytes, 0 never looks."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._next = 0.0

    def look(self, processes: Iterable[Process], now: float) -> Iterator[tuple[int, str]]:
        """Worker number and explanation of each one above the limit."""
        if not self.limit or now < self._next:
            return
        self._next = now + EVERY
        import psutil  # only who sets a limit pays for the import

        for process in list(processes):
            try:
                rss = psutil.Process(process.pid).memory_info().rss
            except psutil.NoSuchProcess:
                continue  # its exit is under way
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                return  # no descriptor is free to look with: at the next look, perhaps
            if rss > self.limit:
                mebibytes = f"{rss / 2**20:.0f} MiB resident"
                limit = f"{self.limit / 2**20:.0f} MiB"
                yield process.spawn.worker, f"{mebibytes}, above {limit} (--worker-max-rss)"
