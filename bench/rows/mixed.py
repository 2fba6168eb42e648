"""The row about mixed load: what the quick requests wait for the slow ones.

One request in ten costs 50 to 200 ms of CPU, the others next to nothing; each comes on a new connection, at
a constant rate, whether or not the ones before are answered. All contestants of a round meet the same
requests in the same order, so that they can be compared within it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from bench.kit.asking import Answer, Clients, on_schedule, percentile
from bench.kit.contest import Running
from bench.kit.measure import spread
from bench.kit.quiet import Cores, undisturbed
from bench.kit.row import Size
from bench.served.lineup import LEVEL_0, LEVEL_2, MASTER, PLAIN, SHARED, Entry, Finding, Trials, tried

WORKERS = (2, 8)
ROUNDS = 6
SECONDS = 15.0
SLOW_SHARE = 0.1
SLOW = (50.0, 200.0)
"""Milliseconds of CPU, each as likely."""
USED = 0.65
"""Of the machine's cores, by the slow requests alone."""
WARM = 1.0
"""Seconds at the beginning whose requests do not count."""

GOALS: Mapping[str, Mapping[str, float]] = {
    LEVEL_2.name: {PLAIN.name: 0.6, MASTER.name: 1.0, SHARED.name: 1.0},
    LEVEL_0.name: {PLAIN.name: 0.8},
}
"""By contestant: the p99 of the quick ones, at most so many times that of another."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """One contestant in one round: p99 in seconds, answered requests, and who used the cores."""

    quick: float
    slow: float
    answered: int
    cores: Cores


def mixed(entries: Sequence[Entry], size: Size) -> Iterator[Finding]:
    """p99 of the quick ones, on 2 and on 8 workers."""
    for workers in WORKERS:
        trials = tried(entries, size.of(ROUNDS), workers, measure)
        yield from findings(workers, trials)
        yield from trials.failures()


def measure(one: Running, number: int) -> Mixed:
    """One round. Raises RuntimeError when not all are answered."""
    schedule = arrivals(number, len(os.sched_getaffinity(0)))
    answers, cores = undisturbed(one, lambda: asked(one, schedule))
    first = min(answer.due for answer in answers)
    counted = [answer for answer in answers if answer.due > first + WARM]
    return Mixed(
        quick=percentile((answer.latency for answer in counted if answer.path == "/"), 0.99),
        slow=percentile((answer.latency for answer in counted if answer.path != "/"), 0.99),
        answered=len(answers),
        cores=cores,
    )


def asked(one: Running, schedule: Sequence[tuple[float, str]]) -> list[Answer]:
    """All answers. Raises RuntimeError when there are fewer than requests."""
    with Clients(one.port) as clients:
        answers = on_schedule(clients, schedule)
        if clients.failures:
            raise RuntimeError(f"not all were answered: {dict(clients.failures)}")
    return answers


def arrivals(number: int, cores: int) -> list[tuple[float, str]]:
    """The requests of a round: seconds from its beginning, and path. The same for the same number."""
    chance = random.Random(number)
    rate = USED * cores / (SLOW_SHARE * mean(SLOW) / 1e3)
    count = round(SECONDS * rate)
    slow_ones = chance.sample(range(count), round(count * SLOW_SHARE))
    paths = {place: f"/burn/{chance.uniform(*SLOW):.0f}" for place in slow_ones}
    return [(place / rate, paths.get(place, "/")) for place in range(count)]


def findings(workers: int, trials: Trials[Mixed]) -> Iterator[Finding]:
    """One of each contestant, with the ratios to all that it is promised to be compared with."""
    for name, rounds in trials.results.items():
        compared, met = [], []
        for other, most in GOALS.get(name, {}).items():
            within = quiet_ratios(rounds, trials.results.get(other, []))
            if within:
                compared.append(
                    f"{spread(within, '.2f')} of {other} in {len(within)} quiet rounds (goal {most:g})"
                )
                met.append(median(within) <= most)
            else:
                compared.append(f"no quiet round to compare with {other}")
                met.append(False)
        # What others did to a round says nothing of the contestant; all rounds, if none was quiet.
        quiet = [one for one in rounds if one.cores.quiet] or rounds
        p99 = spread([one.quick * 1e3 for one in quiet], ".1f")
        slow = spread([one.slow * 1e3 for one in quiet], ".0f")
        yield Finding(
            f"{name}, {workers} workers",
            f"{len(quiet)} of {len(rounds)} rounds of {rounds[0].answered} requests in {SECONDS:g} s: "
            f"quick p99 {p99} ms{''.join(f', {one}' for one in compared)}; slow p99 {slow} ms; cores: server "
            f"{median(one.cores.server for one in quiet):.2f}, other programs "
            f"{spread([one.cores.others for one in quiet], '.2f')}",
            f"p99 {p99} ms",
            all(met) if met else None,
        )


def quiet_ratios(ours: Sequence[Mixed], theirs: Sequence[Mixed]) -> list[float]:
    """p99 of the quick ones against another's, in each round that nobody disturbed."""
    return [
        one.quick / other.quick
        for one, other in zip(ours, theirs, strict=False)  # the other may have given up: no rounds
        if one.cores.quiet and other.cores.quiet
    ]
