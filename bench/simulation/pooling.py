"""Connections that stay: each asks again and again, some much more often than others, all on their worker.

A worker is a queue in which every request takes as long; between two looks of the launcher nothing moves, so
what comes between two is one pass over arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Places = NDArray[np.int64]

WINDOW = 0.25
"""Seconds between two looks, as reuseport's launcher takes them."""
UNEVEN, WORTH, AT_ONCE = 1.2, 1.5, 16
"""Its rule: who has a fifth more than the mean gives, to who has least, while the difference is worth one and
a half connections, sixteen at most."""
LOOKS = 8
"""Looks over which work is averaged: what comes by chance is often uneven for a moment."""
BUSIEST_OF_SHARED = 0.6
"""Of 64 connections at once the busiest of 8 workers behind one listener got 31 to 45: who wakes first."""

Landing = Callable[[int, int, np.random.Generator], Places]
"""Connections and workers: where each connection lands."""


def by_hash(connections: int, workers: int, chance: np.random.Generator) -> Places:
    """Anywhere."""
    return chance.integers(workers, size=connections)


def in_turn(connections: int, workers: int, chance: np.random.Generator) -> Places:  # noqa: ARG001
    """Evenly. Least-loaded comes to the same: at its beginning no connection has anything to do."""
    return np.arange(connections) % workers


def from_one_listener(connections: int, workers: int, chance: np.random.Generator) -> Places:
    """Most to who wakes first, then as much of the rest to the next."""
    shares = BUSIEST_OF_SHARED * (1 - BUSIEST_OF_SHARED) ** np.arange(workers)
    return chance.choice(workers, size=connections, p=shares / shares.sum())


def of_two(connections: int, workers: int, chance: np.random.Generator) -> Places:
    """Of two at random, the one with fewer connections."""
    counts = np.zeros(workers, dtype=np.int64)
    places = np.empty(connections, dtype=np.int64)
    for number in range(connections):
        one, other = chance.integers(workers, size=2)
        places[number] = one if counts[one] <= counts[other] else other
        counts[places[number]] += 1
    return places


@dataclass(frozen=True, slots=True)
class Pool:
    """`each` connections for each worker, which use `used` of it, by requests of so many seconds.

    What a connection asks for is log-normal: with `sigma` 0.7 one in a hundred asks for four times the mean.
    """

    each: int = 8
    used: float = 0.6
    service: float = 0.005
    sigma: float = 0.7
    seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Pooled:
    """p99 in seconds, the busiest worker's work against the mean, connections moved per second."""

    p99: float
    busiest: float
    moves: float


def pooled(pool: Pool, workers: int, landing: Landing, seed: int, *, rebalanced: bool) -> Pooled:
    """The second half of the time counts: by then whoever heals has healed."""
    chance = np.random.default_rng(seed)
    connections = pool.each * workers
    rates = chance.lognormal(sigma=pool.sigma, size=connections)
    rates *= pool.used * workers / pool.service / rates.sum()
    places = landing(connections, workers, chance)
    backlog: Floats = np.zeros(workers)
    seen: list[Floats] = []
    latencies, work, moves = [], np.zeros(workers), 0
    windows = round(pool.seconds / WINDOW)
    for number in range(windows):
        asked = chance.poisson(rates * WINDOW)
        waits, backlog, done = window(asked, places, backlog, pool.service, chance)
        used: Floats = asked * pool.service
        seen = [*seen[-LOOKS + 1 :], used]
        if number >= windows // 2:
            latencies.append(waits)
            work += done
        if rebalanced and len(seen) == LOOKS:
            moves += _rebalance(places, np.mean(seen, axis=0) / WINDOW, workers)
    everybody = np.concatenate(latencies)
    return Pooled(float(np.quantile(everybody, 0.99)), float(work.max() / work.mean()), moves / pool.seconds)


def window(
    asked: Places, places: Places, backlog: Floats, service: float, chance: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """One pass: latencies, what is left to do for each worker, and what has come for it."""
    workers = np.repeat(places, asked)
    times = chance.uniform(0, WINDOW, len(workers))
    order = np.lexsort((times, workers))
    workers, times = workers[order], times[order]
    counts = np.bincount(workers, minlength=len(backlog))
    first = np.repeat(np.cumsum(counts) - counts, counts)
    place = np.arange(len(workers)) - first
    # Lindley's recursion for all workers at once, kept apart by more than anything can add up to.
    apart = workers * (1e3 + WINDOW)
    begun = np.maximum(times, backlog[workers]) - place * service + apart
    ended = np.maximum.accumulate(begun) - apart + (place + 1) * service
    left: Floats = np.maximum(backlog - WINDOW, 0.0)
    last = np.cumsum(counts)[counts > 0] - 1
    left[counts > 0] = np.maximum(ended[last] - WINDOW, 0.0)
    latencies: Floats = ended - times
    come: Floats = counts * service
    return latencies, left, come


def _rebalance(places: Places, busy: Floats, workers: int) -> int:
    """Move connections by the launcher's rule; how many. `busy`: share of a worker that each has used."""
    loads = np.bincount(places, weights=busy, minlength=workers)
    uneven = UNEVEN * loads.mean()
    moved = 0
    for giver in np.flatnonzero(loads > uneven):
        mine = np.flatnonzero(places == giver)
        unit = loads[giver] / max(1, len(mine))
        for connection in mine[:AT_ONCE]:
            taker = int(loads.argmin())
            if len(mine) < 2 or loads[giver] - loads[taker] < WORTH * unit or loads[giver] <= uneven:
                break
            places[connection] = taker
            loads[giver] -= busy[connection]
            loads[taker] += busy[connection]
            moved += 1
    return moved
