"""From SIGKILL of a worker to the end of its successor's lifespan startup: workers tell it themselves."""

from __future__ import annotations

import os
import signal
import time
from statistics import median

from bench.kit.comparison import Trial
from bench.kit.contest import running, until
from bench.kit.results import Figures

APP = "bench.served.framework:app"
WORKERS = 4
KILLS = 4
PATIENCE = 30.0
STEP = 0.001
PAUSE = 1.2
"""Seconds between two: some look for the dead at intervals, and we have who dies often wait longer."""


def recover(trial: Trial) -> Figures:
    """Each worker once, one after the other."""
    entry = trial.entry
    took = []
    with running(entry.contestant, workers=WORKERS, app=APP, wrapper=entry.wrapper) as one:
        for pid in one.workers()[:KILLS]:
            before = set(one.workers())
            begun = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            until(lambda before=before: bool(set(one.workers()) - before), "a successor", PATIENCE, STEP)  # type: ignore[misc]
            took.append(time.monotonic() - begun)
            time.sleep(PAUSE)
    return {"recovered": median(took)}
