"""Many workers: how soon all of them serve, what they cost at rest, a reload of all, and their stop."""

from __future__ import annotations

import signal
import time

from bench.footprint import proportional_mib
from bench.kit.comparison import Trial
from bench.kit.contest import alive, launched, until
from bench.kit.measure import cpu_seconds, free_port
from bench.kit.results import Figures
from bench.rows.losses import PATIENCE as _RELOADS
from bench.served.lineup import migrating
from bench.served.peers import APP, Setup

WORKERS = 64
PATIENCE = 60.0
SETTLE = 5.0
"""Seconds until what comes after a start is over."""
IDLE = 10.0
"""Seconds for which nothing is done."""
STEP = 0.02


def many(trial: Trial) -> Figures:
    """One life of 64 workers on what CPUs there are."""
    setup = Setup(free_port(), trial.entry.workers or WORKERS, APP)
    begun = time.monotonic()
    with migrating(trial.entry), launched(trial.entry.contestant, setup, trial.entry.wrapper) as one:
        until(lambda: len(one.workers()) == setup.workers, "all workers", PATIENCE, STEP)
        up = time.monotonic() - begun
        one.server.line(trial.entry.contestant.ready)
        time.sleep(SETTLE)
        everybody = [one.server.process, *one.server.children()]
        before, began = cpu_seconds(everybody), time.monotonic()
        time.sleep(trial.pace.seconds(IDLE))
        idle = (cpu_seconds(everybody) - before) / (time.monotonic() - began)
        memory = sum(map(proportional_mib, everybody))
        begun = time.monotonic()
        one.reload()
        reloaded = time.monotonic() - begun
        until(lambda: len(one.workers()) == setup.workers, "the old workers' end", _RELOADS)
        leaving = [one.server.process.pid, *(process.pid for process in one.server.children())]
        begun = time.monotonic()
        one.server.process.send_signal(signal.SIGTERM)
        until(lambda: not any(map(alive, leaving)), "the stop", PATIENCE, STEP)
        stopped = time.monotonic() - begun
    return {"start": up, "reload": reloaded, "stop": stopped, "idle": idle, "memory": memory}
