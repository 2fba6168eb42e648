"""Constant rates: requests are sent when they are due, whether or not the ones before are answered.

Latencies count from that moment, so a stall is seen by everybody who would have met it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from bench.kit.asking import Answer, Clients, at_once, on_schedule, on_schedule_kept, percentile
from bench.kit.comparison import Measure, Trial
from bench.kit.contest import Running
from bench.kit.quiet import accounted
from bench.kit.results import Figures
from bench.rows.blocked import CONNECTIONS, HELD_UP, while_blocked
from bench.rows.figures import account, latencies, warm
from bench.served.lineup import started
from bench.served.peers import APP

SETTLED = 0.5
"""Seconds at the beginning whose requests do not count."""
HELLO = "/"

Load = Callable[[Running, Sequence[tuple[float, str]]], list[Answer]]


def on_kept(connections: int) -> Load:
    """Over so many connections, opened before."""

    def load(one: Running, schedule: Sequence[tuple[float, str]]) -> list[Answer]:
        with Clients(one.port) as clients:
            kept = [connection for connection, _ in at_once(clients, HELLO, connections, kept=True)]
            return _all(clients, on_schedule_kept(clients, kept, schedule))

    return load


def on_new(one: Running, schedule: Sequence[tuple[float, str]]) -> list[Answer]:
    """A new connection for each."""
    with Clients(one.port) as clients:
        return _all(clients, on_schedule(clients, schedule))


def _all(clients: Clients, answers: list[Answer]) -> list[Answer]:
    """Raises RuntimeError unless all were answered."""
    if clients.failures:
        raise RuntimeError(f"not all were answered: {dict(clients.failures)}")
    return answers


def steady(load: Load, *, rate: float, seconds: float) -> Measure:
    """Hello at a constant rate."""

    def measure(trial: Trial) -> Figures:
        lasts = SETTLED + trial.pace.seconds(seconds)
        schedule = [(number / rate, HELLO) for number in range(round(lasts * rate))]
        with started(trial.entry, 2, APP) as one:
            warm(one)
            answers, cores = accounted(one, lambda: load(one, schedule))
        return {**latencies(settled(answers)), **account(cores, len(answers))}

    return measure


def settled(answers: Sequence[Answer]) -> list[Answer]:
    """Those that count."""
    begin = min(answer.due for answer in answers)
    return [answer for answer in answers if answer.due - begin >= SETTLED]


def mixed(*, workers: int, rate: float, share: float, milliseconds: float, seconds: float) -> Measure:
    """Hello, and now and then a request that costs CPU time; everybody meets the same ones in a round."""

    def measure(trial: Trial) -> Figures:
        slow = trial.slow(milliseconds)
        schedule = blended(trial.number, rate, SETTLED + trial.pace.seconds(seconds), share, slow)
        with started(trial.entry, workers, APP) as one:
            warm(one)
            answers, cores = accounted(one, lambda: on_new(one, schedule))
        counted = settled(answers)
        heavy = [answer.latency for answer in counted if answer.path == slow]
        return {
            **latencies([answer for answer in counted if answer.path == HELLO]),
            **({"slow_p50": percentile(heavy, 0.5)} if heavy else {}),
            **account(cores, len(answers)),
        }

    return measure


def blended(number: int, rate: float, seconds: float, share: float, slow: str) -> list[tuple[float, str]]:
    """When each request of a round is due, and its path; the same for the same number."""
    count = round(rate * seconds)
    places = set(random.Random(number).sample(range(count), max(1, round(count * share))))
    return [(place / rate, slow if place in places else HELLO) for place in range(count)]


def while_one_is_blocked(*, workers: int, milliseconds: float, over: float) -> Measure:
    """New connections while one of so many workers is blocked; who waits for its end, and how long."""

    def measure(trial: Trial) -> Figures:
        block = trial.slow(milliseconds)
        with started(trial.entry, workers, APP) as one:
            warm(one)
            answers, cores = accounted(one, lambda: while_blocked(one, block, over))
        held = sum(answer.latency > HELD_UP for answer in answers)
        return {**latencies(answers), "held": held / CONNECTIONS, **account(cores, len(answers))}

    return measure
