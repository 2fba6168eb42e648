"""The load of simulation and measurement alike: at random moments, a tenth blocks its worker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.simulation.queueing import Floats

SLOW_SHARE = 0.1
SLOW = (0.05, 0.2)
"""Seconds, each as likely."""


@dataclass(frozen=True, slots=True)
class Load:
    """When each request comes, and how long it blocks its worker; 0 is a quick one."""

    arrivals: Floats
    works: Floats

    def quick(self, latencies: Floats) -> Floats:
        """Of the quick ones."""
        return latencies[..., self.works == 0]


def rate(workers: int, used: float) -> float:
    """Requests per second by which the slow ones use that share of the workers' time."""
    return used * workers / (SLOW_SHARE * sum(SLOW) / 2)


def load(workers: int, used: float, requests: int, seed: int) -> Load:
    """Poisson arrivals at that rate."""
    chance = np.random.default_rng(seed)
    arrivals: Floats = np.cumsum(chance.exponential(1 / rate(workers, used), requests))
    # Whole tenths of milliseconds: as they are asked for.
    slow = np.round(chance.uniform(*SLOW, requests), 4)
    works: Floats = np.where(chance.random(requests) < SLOW_SHARE, slow, 0.0)
    return Load(arrivals, works)


def p99(figures: Floats) -> float:
    """What 99 in 100 do not exceed."""
    return float(np.quantile(figures, 0.99))


def paths(given: Load) -> list[tuple[float, str]]:
    """The same for the bench's clients."""
    return [
        (float(at), f"/block/{work * 1e3:.1f}" if work else "/")
        for at, work in zip(given.arrivals, given.works, strict=True)
    ]
