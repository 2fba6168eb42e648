"""What the simulation is calibrated on and checked against: real servers under the very same load.

A handler that blocks its event loop by sleeping uses no core, so that two cores can stand for eight workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import psutil

from bench.kit.asking import Answer
from bench.kit.contest import Running
from bench.kit.measure import cpu_seconds
from bench.kit.quiet import accounted
from bench.rows.figures import latencies, warm
from bench.rows.openloop import on_new
from bench.served.field import BLIND, HASH, MASTER, PLAIN, REUSEPORT, ROUND_ROBIN, SHARED, SINGLE
from bench.served.lineup import GIVES_UP, Entry, started
from bench.served.peers import APP
from bench.simulation.load import load, p99, paths, rate

CALIBRATED_ON, CHECKED_ON = 2, 8
SIZES = (CALIBRATED_ON, CHECKED_ON)
ENTRIES = (PLAIN, BLIND, MASTER, SHARED, HASH, ROUND_ROBIN, REUSEPORT)
USED = 0.6
"""Of the workers' time."""
SEED = 7
IDLE_RATE, IDLE_SECONDS = 50, 4.0
COST_SIZES = (2, 8, 32)
COST_ENTRIES = (PLAIN, SHARED, MASTER, REUSEPORT)
COST_RATE, COST_SECONDS = 200, 3.0


@dataclass(slots=True)
class Measurements:
    """Seconds. `runs`: by workers and contestant, mean and p99 of the quick requests; `raw`: every latency.

    `cost`: by contestant and workers, CPU time of all processes for a connection; `serial`: of the master's.
    """

    base: float = 0.0
    overhead: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    runs: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    raw: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    cost: dict[str, dict[str, float]] = field(default_factory=dict)
    serial: float = 0.0
    other_cores: float = 0.0
    """At most, in any of the runs."""
    failures: dict[str, str] = field(default_factory=dict)
    used: float = USED
    seed: int = SEED

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measurements(seconds: float) -> Measurements:
    """All of it; runs of so many seconds. A server that fails is not in it, but among the failures."""
    found = Measurements()
    _idle(found)
    for workers in SIZES:
        for entry in ENTRIES:
            what = f"{entry.name} on {workers} workers"
            _tried(found, what, partial(_run, found, entry, workers, seconds))
    for entry in COST_ENTRIES:
        for workers in COST_SIZES:
            what = f"what a connection costs behind {entry.name} on {workers} workers"
            _tried(found, what, partial(_cost, found, entry, workers))
    return found


def _tried(found: Measurements, what: str, measure: Callable[[], None]) -> None:
    try:
        measure()
    except GIVES_UP as error:
        found.failures[what] = f"{type(error).__name__}: {str(error)[-300:]}"
    print(f"{'failed' if what in found.failures else 'measured'}: {what}", flush=True)


def _idle(found: Measurements) -> None:
    """What a request takes that nobody is in the way of."""
    schedule = [(number / IDLE_RATE, "/") for number in range(round(IDLE_SECONDS * IDLE_RATE))]
    with started(SINGLE, 1, APP) as one:
        warm(one)
        answers, cores = accounted(one, lambda: on_new(one, schedule))
    found.overhead = cores.spent / len(answers)
    found.base = max(0.0, latencies(answers)["p50"] - found.overhead)


def _run(found: Measurements, entry: Entry, workers: int, seconds: float) -> None:
    found.requests[str(workers)] = round(rate(workers, USED) * seconds)
    given = load(workers, USED, found.requests[str(workers)], SEED)
    with started(entry, workers, APP) as one:
        warm(one)
        answers, cores = accounted(one, lambda: on_new(one, paths(given)))
    found.other_cores = max(found.other_cores, cores.others)
    each = np.array([answer.latency for answer in sorted(answers, key=lambda answer: answer.due)])
    quick = given.quick(each)
    found.runs.setdefault(str(workers), {})[entry.name] = (float(quick.mean()), p99(quick))
    found.raw.setdefault(str(workers), {})[entry.name] = each.round(5).tolist()


def _cost(found: Measurements, entry: Entry, workers: int) -> None:
    schedule = [(number / COST_RATE, "/") for number in range(round(COST_SECONDS * COST_RATE))]
    with started(entry, workers, APP) as one:
        warm(one)
        time.sleep(1.0)  # a started server has things to do after it has said that it is ready
        idle = _spent(one, lambda: time.sleep(COST_SECONDS))
        parent = cpu_seconds([one.server.process])
        answers: list[Answer] = []
        busy = _spent(one, lambda: answers.extend(on_new(one, schedule)))
        parent = cpu_seconds([one.server.process]) - parent
    found.cost.setdefault(entry.name, {})[str(workers)] = max(0.0, busy - idle) / len(answers)
    if entry is MASTER:
        found.serial = parent / len(answers)


def _spent(one: Running, act: Any) -> float:
    processes: list[psutil.Process] = [one.server.process, *one.server.children()]
    before = cpu_seconds(processes)
    act()
    return cpu_seconds(processes) - before
