"""The row about a worker that is blocked: who connects meanwhile is somebody else's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from bench.kit.asking import Answer, Clients, on_schedule, percentile
from bench.kit.contest import Running, until
from bench.kit.measure import cpu_seconds, spread
from bench.kit.quiet import Cores, undisturbed
from bench.kit.row import Size
from bench.served.lineup import LEVEL_0, LEVEL_2, Entry, Finding, tried

WORKERS = 2
RUNS = 10
"""Which worker is blocked, and where the hash sends the others, is random."""
BLOCK = "/work/3000"
BUSY = 0.01
"""CPU seconds that tell the worker whose handler runs: any server's, whatever it keeps accounts of."""
SINCE = 0.05
"""Seconds from that moment to the first connection: nobody can know at once that it stays."""
CONNECTIONS = 200
TOGETHER = 20
OVER = 2.0
"""Seconds over which the connections are spread, so many together."""

LIMITS = {LEVEL_2.name: 0.020, LEVEL_0.name: 0.100}
"""Seconds within which every answer is promised."""
HELD_UP = 0.1
"""Seconds: who waits longer has met the blocked worker."""


def blocked(entries: Sequence[Entry], size: Size) -> Iterator[Finding]:
    """200 new connections while one of two workers is blocked."""

    def measure(one: Running, _: int) -> tuple[list[Answer], Cores]:
        return undisturbed(one, lambda: while_blocked(one))

    trials = tried(entries, size.of(RUNS), WORKERS, measure)
    for name, results in trials.results.items():
        runs = [answers for answers, _ in results]
        worst = [max(answer.latency for answer in run) * 1e3 for run in runs]
        middle = [percentile((answer.latency for answer in run), 0.5) * 1e3 for run in runs]
        held = [sum(answer.latency > HELD_UP for answer in run) for run in runs]
        yield Finding(
            name,
            f"{len(runs)} runs of {CONNECTIONS} connections: slowest {spread(worst, '.1f')} ms, "
            f"median {spread(middle, '.1f')} ms; over {HELD_UP * 1e3:g} ms waited {spread(held, 'g')}; "
            f"other programs used {spread([cores.others for _, cores in results], '.2f')} cores",
            f"slowest {max(worst):.1f} ms, {max(held)} of {CONNECTIONS} held up at worst",
            max(worst) <= LIMITS[name] * 1e3 if name in LIMITS else None,
        )
    yield from trials.failures()


def while_blocked(one: Running, block: str = BLOCK, over: float = OVER) -> list[Answer]:
    """One run. Raises RuntimeError when not all are answered, or the block was over too early to show."""
    processes = one.server.children() or [one.server.process]
    before = {process: cpu_seconds([process]) for process in processes}
    with Clients(one.port) as clients:
        clients.connect(block, time.monotonic())
        until(lambda: any(cpu_seconds([one]) - before[one] > BUSY for one in processes), "a blocked worker")
        everything = on_schedule(clients, arrivals(over))
        answers = [answer for answer in everything if answer.path != block]
        if clients.failures or len(everything) != CONNECTIONS + 1:
            raise RuntimeError(f"{len(everything)} answers, failed: {dict(clients.failures)}")
    over = next(answer.at for answer in everything if answer.path == block)
    if max(answer.due for answer in answers) > over:
        raise RuntimeError("the worker was free again before the last connection came")
    return answers


def arrivals(over: float = OVER) -> list[tuple[float, str]]:
    """When each connection comes, in seconds, and what it asks for."""
    crowds = CONNECTIONS // TOGETHER
    return [(SINCE + over * crowd / crowds, "/") for crowd in range(crowds) for _ in range(TOGETHER)]
