"""Rows about connections that stay: pooled clients that landed badly, and connections of unequal cost."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from bench.kit.asking import Answer, Clients, Connection, at_once, closed_loop
from bench.kit.contest import Running
from bench.kit.measure import spread
from bench.kit.row import Size
from bench.served.lineup import LEVEL_0, LEVEL_0_STAY, LEVEL_2, LEVEL_2_STAY, Entry, Finding, ratios, tried

TOGETHER = 32
MOST = 512
"""Connections opened at most until enough of them have met the same worker."""

POOL, POOL_WORKERS = 16, 8
POOL_PATH = "/burn/2"
"""Enough work that the workers are the limit, not the clients."""
POOL_ROUNDS = 3
SETTLE = 2.0
"""Seconds until the load has to be even."""
WINDOW = 4.0
EVEN = 1.25
"""The busiest against the mean, at most."""
GAIN = 1.2
"""Throughput against connections that stay where they are, at least, on two cores or more."""

COSTS_WORKERS = 2
LIGHT, HEAVY = "/burn/20", "/burn/80"
EACH = 16
"""Connections that always ask for the one, and for the other."""
COSTS_ROUNDS = 3
COSTS_SETTLE = 5.0
COSTS_WINDOW = 16.0
"""Seconds: about twenty requests on each connection, so that one more or less is not the difference."""

_PROMISED = {LEVEL_2.name, LEVEL_0.name}


def badly(clients: Clients, workers: int, count: int) -> list[list[Connection]]:
    """Kept connections, so many on each of so many workers, and none on the others.

    Connections are opened until some workers have enough of them; what is not needed is closed again. Raises
    RuntimeError when the server spreads none on so many workers.
    """
    by_pid: defaultdict[int, list[Connection]] = defaultdict(list)
    for _ in range(MOST // TOGETHER):
        for connection, answer in at_once(clients, "/", TOGETHER, kept=True):
            by_pid[answer.pid].append(connection)
        fullest = sorted(by_pid.values(), key=len, reverse=True)
        if len(fullest) >= workers and len(fullest[workers - 1]) >= count:
            chosen = [group[:count] for group in fullest[:workers]]
            kept = {connection.number for group in chosen for connection in group}
            for connection in (one for group in fullest for one in group if one.number not in kept):
                clients.close(connection)
            return chosen
    raise RuntimeError(f"of {MOST} connections the workers have {[len(group) for group in by_pid.values()]}")


def first_workers(answers: Sequence[Answer]) -> list[int]:
    """On how many connections each worker gave the first answer, most first."""
    first: dict[int, int] = {}
    for answer in answers:
        first.setdefault(answer.connection, answer.pid)
    return sorted(Counter(first.values()).values(), reverse=True)


# ── pooled ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Pooled:
    """One round: connections by worker at first, load by worker in the window, requests/s, errors."""

    first: list[int]
    loads: list[float]
    rate: float
    errors: int

    @property
    def busiest(self) -> float:
        """The busiest worker's load against the mean."""
        return max(self.loads) / mean(self.loads)


def pooled(entries: Sequence[Entry], size: Size) -> Iterator[Finding]:
    """16 kept connections, all on one of 8 workers at first."""
    trials = tried(entries, size.of(POOL_ROUNDS), POOL_WORKERS, lambda one, _: measure_pool(one))
    stays = {LEVEL_2.name: LEVEL_2_STAY.name, LEVEL_0.name: LEVEL_0_STAY.name}
    for name, rounds in trials.results.items():
        busiest = [one.busiest for one in rounds]
        errors = sum(one.errors for one in rounds)
        rates = [one.rate for one in rounds]
        loads = "; ".join(" ".join(f"{load:.1f}" for load in one.loads) for one in rounds)
        gain, gained = "", True
        if name in stays:
            gain, gained = _gain(rates, [one.rate for one in trials.results.get(stays[name], [])])
        yield Finding(
            name,
            f"{len(rounds)} rounds, {POOL} connections, at first by worker {rounds[0].first}; "
            f"after {SETTLE:g} s, mean requests in hand by worker: {loads}; "
            f"{spread(rates, '.0f')} requests/s{gain}; {errors} errors",
            f"busiest {spread(busiest, '.2f')} of the mean, {median(rates):.0f}/s, {errors} errors",
            (max(busiest) <= EVEN and errors == 0 and gained) if name in _PROMISED else None,
        )
    yield from trials.failures()


def _gain(rates: Sequence[float], stayed: Sequence[float]) -> tuple[str, bool]:
    """The throughput against connections that stay, in words, and whether it is enough for the cores."""
    if not stayed:
        return ", nothing to compare with", False
    gains = ratios(rates, stayed)
    enough = median(gains) >= GAIN or len(os.sched_getaffinity(0)) == 1
    return f", {spread(gains, '.2f')} of connections that stay", enough


def measure_pool(one: Running) -> Pooled:
    """One round."""
    with Clients(one.port) as clients:
        [kept] = badly(clients, 1, POOL)
        begin = time.monotonic() + SETTLE
        answers = closed_loop(clients, [(connection, POOL_PATH) for connection in kept], SETTLE + WINDOW)
        errors = clients.failures.total()
    end = begin + WINDOW
    counted = sum(begin <= answer.at < end for answer in answers)
    by_pid = load_by_worker(answers, begin, end)
    loads = sorted((by_pid.get(pid, 0.0) for pid in one.workers()), reverse=True)
    return Pooled(first_workers(answers), loads, counted / WINDOW, errors)


def load_by_worker(answers: Sequence[Answer], begin: float, end: float) -> Mapping[int, float]:
    """Requests that each worker had in hand on average between two moments, by pid.

    The time that every request was under way, as far as it lies between them, added up and divided by their
    distance: what Little's law calls the number in the system.
    """
    held: defaultdict[int, float] = defaultdict(float)
    for answer in answers:
        held[answer.pid] += max(0.0, min(answer.at, end) - max(answer.due, begin))
    return {pid: seconds / (end - begin) for pid, seconds in held.items()}


# ── costs ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Costs:
    """One round: connections by worker at first, requests completed in the window by each connection, and by
    worker; errors."""

    first: list[int]
    completed: list[int]
    workers: list[int]
    errors: int

    @property
    def fairness(self) -> float:
        """The luckiest connection against the mean."""
        return max(self.completed) / mean(self.completed)


def costs(entries: Sequence[Entry], size: Size) -> Iterator[Finding]:
    """32 kept connections of unequal cost, all heavy ones on one of two workers at first."""
    trials = tried(entries, size.of(COSTS_ROUNDS), COSTS_WORKERS, lambda one, _: measure_costs(one))
    for name, rounds in trials.results.items():
        fairness = [one.fairness for one in rounds]
        errors = sum(one.errors for one in rounds)
        by_connection = "; ".join(f"{min(one.completed)} to {max(one.completed)}" for one in rounds)
        by_worker = "; ".join(" ".join(map(str, one.workers)) for one in rounds)
        yield Finding(
            name,
            f"{len(rounds)} rounds, {EACH} connections ask for {LIGHT} and {EACH} for {HEAVY}, "
            f"by worker at first {rounds[0].first}; after {COSTS_SETTLE:g} s, in {COSTS_WINDOW:g} s, "
            f"completed by connection {by_connection}, by worker {by_worker}; {errors} errors",
            f"luckiest connection {spread(fairness, '.2f')} of the mean",
            (max(fairness) <= EVEN and errors == 0) if name in _PROMISED else None,
        )
    yield from trials.failures()


def measure_costs(one: Running) -> Costs:
    """One round."""
    with Clients(one.port) as clients:
        light, heavy = badly(clients, 2, EACH)
        paths = [
            *((connection, LIGHT) for connection in light),
            *((connection, HEAVY) for connection in heavy),
        ]
        begin = time.monotonic() + COSTS_SETTLE
        answers = closed_loop(clients, paths, COSTS_SETTLE + COSTS_WINDOW)
        errors = clients.failures.total()
    window = [answer for answer in answers if begin <= answer.at < begin + COSTS_WINDOW]
    completed = Counter({connection.number: 0 for connection, _ in paths})
    completed.update(answer.connection for answer in window)
    workers = Counter(answer.pid for answer in window)
    return Costs(first_workers(answers), list(completed.values()), list(workers.values()), errors)
