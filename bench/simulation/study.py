"""The model calibrated on two workers, checked on eight, and asked about as many as nobody here has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from bench.served.field import BLIND, HASH, MASTER, PLAIN, REUSEPORT, ROUND_ROBIN, SHARED
from bench.simulation import pooling, queueing
from bench.simulation.load import load, p99
from bench.simulation.measuring import CALIBRATED_ON, SIZES, Measurements
from bench.simulation.queueing import Mode, Worker, latencies

SIMULATED: Mapping[str, Mode] = {
    PLAIN.name: Mode("hash", queueing.Hash),
    BLIND.name: Mode("round robin, blind", queueing.Turns),
    MASTER.name: Mode("round robin, acknowledged", queueing.Acknowledged),
    SHARED.name: Mode("shared queue", queueing.Shared),
    HASH.name: Mode("hash, stealing", queueing.Hash, relieved=True, stealing=True),
    ROUND_ROBIN.name: Mode("round robin, stealing", queueing.TurnsOfTheLively, relieved=True, stealing=True),
    REUSEPORT.name: Mode("reuseport", queueing.LeastLoaded, relieved=True, stealing=True),
}
"""By contestant, its model. `reuseport` is least-loaded of all up to 64 workers, of two at random beyond."""
HYPOTHETICAL = (
    Mode("hash, relieved", queueing.Hash, relieved=True),
    Mode("reuseport, without stealing", queueing.LeastLoaded, relieved=True),
    Mode("two choices", queueing.TwoChoices),
    Mode("least-loaded of all", queueing.Exact, relieved=True, stealing=True),
)
AHEAD = (0, 1, 2)
SEEDS = tuple(range(5))
"""What is left to chance is simulated so often."""
WORKERS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
USES = (0.4, 0.6, 0.8)
REQUESTS = 10_000
"""At least; sixty for each worker."""
BREAKS = 2.0
"""Times the p99 of one queue for all, beyond 10 ms."""
IGNORED = 0.010
"""Seconds: no p99 below is called a breakdown."""
SYN_NS = {8: 190, 64: 530}
"""What the steering program costs a connection (python -m bench.steering)."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One contestant, measured and simulated: mean and p99 of the quick requests, seconds."""

    name: str
    workers: int
    mean: tuple[float, float]
    p99: tuple[float, float]

    @property
    def error(self) -> float:
        """Of the p99: 0.1 is a tenth too much or too little."""
        measured, simulated = self.p99
        return abs(simulated / measured - 1)

    @property
    def mean_error(self) -> float:
        """Of the mean."""
        measured, simulated = self.mean
        return abs(simulated / measured - 1)


def calibrated(found: Measurements) -> Worker:
    """The worker that is most like those measured on two."""
    worker = Worker(overhead=found.overhead)

    def off(ahead: int) -> float:
        tried = checked(found, replace(worker, ahead=ahead), (CALIBRATED_ON,))
        return median(one.mean_error for one in tried)

    return replace(worker, ahead=min(AHEAD, key=off))


def checked(found: Measurements, worker: Worker, sizes: tuple[int, ...] = SIZES) -> list[Checked]:
    """Every contestant's run against the model's under the same load."""
    return [one_checked(found, worker, size, name) for size in sizes for name in found.runs[str(size)]]


def one_checked(found: Measurements, worker: Worker, workers: int, name: str) -> Checked:
    """One contestant."""
    given = load(workers, found.used, found.requests[str(workers)], found.seed)
    mode = with_serial(SIMULATED[name], found)
    mean, slow = found.runs[str(workers)][name]
    simulated = given.quick(latencies(mode, workers, given.arrivals, given.works, worker, SEEDS)) + found.base
    return Checked(
        name,
        workers,
        (mean, float(np.median(simulated.mean(axis=1)))),
        (slow, median(p99(one) for one in simulated)),
    )


def with_serial(mode: Mode, found: Measurements) -> Mode:
    """A master's mode with what its own process costs."""
    masters = (queueing.Turns, queueing.Acknowledged)
    return replace(mode, serial=found.serial) if mode.rule in masters else mode


# ── beyond what can be measured ───────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Point:
    """p99 of the quick requests of a mode, so many workers, and a share of their time used; seconds."""

    mode: str
    workers: int
    used: float
    p99: float


def scaled(
    found: Measurements, worker: Worker, sizes: tuple[int, ...] = WORKERS, requests: int = REQUESTS
) -> Iterator[Point]:
    """Every mode, size and use."""
    modes = [*(with_serial(mode, found) for mode in SIMULATED.values()), *HYPOTHETICAL]
    for workers in sizes:
        for used in USES:
            given = load(workers, used, max(requests, 60 * workers), found.seed)
            for mode in modes:
                quick = given.quick(latencies(mode, workers, given.arrivals, given.works, worker)[0])
                yield Point(mode.name, workers, used, p99(quick) + found.base)


def breaks_down(points: list[Point], mode: str, used: float) -> int | None:
    """The least number of workers from which on a mode's p99 is twice that of one queue; None: never."""
    by_size = {(point.mode, point.workers): point.p99 for point in points if point.used == used}
    broken = [
        workers
        for (name, workers), slow in by_size.items()
        if name == mode and slow > max(IGNORED, BREAKS * by_size[SIMULATED[SHARED.name].name, workers])
    ]
    return min(broken, default=None)


@dataclass(frozen=True, slots=True)
class Kept:
    """Kept connections of a landing, with or without rebalancing: medians over seeds."""

    landing: str
    rebalanced: bool
    workers: int
    p99: float
    busiest: float
    moves: float


LANDINGS: Mapping[str, pooling.Landing] = {
    "hash": pooling.by_hash,
    "in turn, or least-loaded": pooling.in_turn,
    "two choices": pooling.of_two,
    "one listener": pooling.from_one_listener,
}
POOL_SEEDS = 5


def kept(sizes: tuple[int, ...] = WORKERS) -> Iterator[Kept]:
    """Eight connections for each worker, of unequal appetite."""
    for workers in sizes:
        for name, landing in LANDINGS.items():
            for rebalanced in (False, True):
                runs = [
                    pooling.pooled(pooling.Pool(), workers, landing, seed, rebalanced=rebalanced)
                    for seed in range(POOL_SEEDS)
                ]
                yield Kept(
                    name,
                    rebalanced,
                    workers,
                    median(run.p99 for run in runs),
                    median(run.busiest for run in runs),
                    median(run.moves for run in runs),
                )


@dataclass(frozen=True, slots=True)
class Herd:
    """What each worker more adds to the CPU time of a connection, in seconds, beyond what it adds where
    nothing is shared: caches are cold everywhere."""

    name: str
    more: float


def herds(found: Measurements) -> Iterator[Herd]:
    """By a line through what was measured; nothing without the measurement of who shares nothing."""
    slopes = {name: _slope(costs) for name, costs in found.cost.items() if len(costs) > 1}
    for name, slope in slopes.items():
        if PLAIN.name in slopes and name != PLAIN.name:
            yield Herd(name, max(0.0, slope - slopes[PLAIN.name]))


def _slope(costs: Mapping[str, float]) -> float:
    slope, _ = np.polyfit([int(size) for size in costs], list(costs.values()), 1)
    return float(slope)
