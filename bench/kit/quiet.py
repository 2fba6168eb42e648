"""Measuring while nobody else uses the cores: latencies of a machine that others use are theirs, too.

Whether a measurement was disturbed is told by CPU time that is neither the server's nor ours, never by its
result, so to measure again favours nobody.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bench.kit.contest import Running
from bench.kit.measure import cpu_seconds, machine_seconds

QUIET = 0.15
"""Cores that other programs may use. The kernel's own work for the load is among them: a tenth."""
LOOK = 0.5
"""Seconds over which to see whether it is quiet."""
PATIENCE = 30.0
"""Seconds to wait for quiet; then the measurement is made all the same, and says what it was like."""
TRIES = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cores:
    """CPU seconds per second of a measurement: the server's, other programs', and the load generator's.

    `spent` is the server's CPU time in seconds.
    """

    server: float
    others: float
    client: float = 0.0
    spent: float = 0.0

    @property
    def quiet(self) -> bool:
        """Whether the figures are the server's own."""
        return self.others <= QUIET


def undisturbed(one: Running, measure: Callable[[], T]) -> tuple[T, Cores]:
    """Measure when it is quiet, and again if it was not; the second try counts, whatever it was like."""
    for _ in range(TRIES):
        wait_for_quiet(one)
        result, cores = accounted(one, measure)
        if cores.quiet:
            break
    return result, cores


def wait_for_quiet(one: Running) -> None:
    """Until other programs leave the cores alone, or the patience is over."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        _, cores = accounted(one, lambda: time.sleep(LOOK))
        if cores.quiet:
            return


def accounted(one: Running, measure: Callable[[], T]) -> tuple[T, Cores]:
    """What came out, and who used the cores meanwhile."""
    processes = [one.server.process, *one.server.children()]
    begun, machine = time.monotonic(), machine_seconds()
    ours, theirs = own_seconds(), cpu_seconds(processes)
    result = measure()
    lasted, busy = time.monotonic() - begun, machine_seconds() - machine
    server, client = cpu_seconds(processes) - theirs, own_seconds() - ours
    others = max(0.0, busy - server - client)
    return result, Cores(server / lasted, others / lasted, client / lasted, server)


def own_seconds() -> float:
    """CPU time of this process and of all its children that have ended: load generators are such."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
