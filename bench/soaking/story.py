"""One run: phases of load in which everything happens, and after each of them rest."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.kit.clients import Crowd, Tally
from bench.kit.contest import until
from bench.kit.measure import HOST, free_port, served
from bench.soaking.disturbances import Disturbances
from bench.soaking.load import CONNECTIONS, jobs
from bench.soaking.watch import Record, at_rest, rest, watching

APP = "bench.soaking.application:app"
PATIENCE = 60.0
"""Seconds in which the server comes to rest: longer than the graceful timeout."""
SETTLED = 1.5
"""Seconds at rest until all is written down that is written rarely."""


@dataclass(frozen=True, slots=True)
class Length:
    """Phases of so many seconds, with something happening every `pause` seconds."""

    phases: int
    seconds: float
    pause: float


def soak(
    length: Length,
    workers: int,
    flags: tuple[str, ...] = (),
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> tuple[Record, dict[str, Tally]]:
    """What was seen, and what became of each kind of request. Raises TimeoutError if no rest comes."""
    port, admin = free_port(), free_port()
    command = [sys.executable, "-m", "reuseport", APP, "--workers", str(workers), "--port", str(port)]
    command += ["--admin", f"{HOST}:{admin}", "--no-access-log", "--no-control"]
    command += ["--limit-max-requests", "2000", "--limit-max-requests-jitter", "1000", *flags]
    tallies = {kind: Tally() for kind in CONNECTIONS}
    with served(command, port, rf"all {workers} workers are ready") as server:
        record = Record(workers)
        disturbances = Disturbances(record, server, port, admin, seed)
        disturbances.widen()
        for phase in range(length.phases):
            with watching(record, server, tallies), Crowd(*jobs(port, tallies, seed + phase)):
                disturbances.go_on(length.seconds, length.pause)
                disturbances.end()
            until(lambda: at_rest(admin, workers), "rest", PATIENCE, 0.1)
            if "--no-mold" not in flags:
                # Whom a mold has forked holds less than who was executed because there was none just then.
                until(lambda: disturbances.mold() is not None, "a mold", PATIENCE, 0.1)
                disturbances.reload()
                until(lambda: disturbances.reloaded() and at_rest(admin, workers), "rest", PATIENCE, 0.1)
            time.sleep(SETTLED)
            until(lambda: at_rest(admin, workers), "rest", PATIENCE, 0.1)
            record.rests.append(rest(record, server, admin))
            tell(f"phase {phase + 1} of {length.phases}: {record.rests[-1]}")
    return record, tallies
