"""How much more does a CPU-bound application do with two workers than with one?

The experiment the project grew from: `GET /api/{n}`, which adds n numbers on the event loop, asked by 100
connections. n is chosen so that one request takes about as long as asked. A server that was measured is
full of requests nobody waits for any more, so each measurement has a fresh one.
Goal: 1.9 times, on two free cores. The load generator is on the same cores and others may be, too: what
they took is printed beside the ratio, and so is the CPU per request, which depends less on what was left.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.request import urlopen

from bench.kit.measure import announce, cpu_seconds, interleaved, machine_seconds, reuseport, spread, wrk

RATIO = 1.9
CALIBRATION_N = 1_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One server in one round. `server`, `wrk` and `others` are cores: CPU seconds per second."""

    rate: float
    latency: float
    errors: int
    server: float
    wrk: float
    others: float
    cpu_per_request: float


def main() -> None:
    """Calibrate, measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--n", type=int, default=0, help="ask for /api/N; 0 calibrates it")
    parser.add_argument("--milliseconds", type=float, default=25.0, help="what one request should take")
    parser.add_argument("--workers", type=int, default=2, help="compared with 1")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of one measurement")
    arguments = parser.parse_args()
    arguments.n = arguments.n or calibrated(arguments.milliseconds / 1e3)
    announce(arguments)

    counts = (1, arguments.workers)
    results: dict[int, list[Measured]] = {count: [] for count in counts}
    for number, workers in interleaved(counts, arguments.rounds):
        one = measured(workers, arguments.n, arguments.connections, arguments.seconds)
        results[workers].append(one)
        print(
            f"round {number + 1}, {workers} workers: {one.rate:6.1f} req/s, answered in {one.latency:.2f} s, "
            f"{one.cpu_per_request * 1e3:.1f} ms of CPU a request, {one.errors} errors; cores: "
            f"server {one.server:.2f}, wrk {one.wrk:.3f}, others {one.others:.2f}",
            flush=True,
        )
    pairs = list(zip(*(results[count] for count in counts), strict=True))
    ratios = [many.rate / one.rate for one, many in pairs]
    print(f"{arguments.workers} workers against 1, within a round: {spread(ratios, '.2f')} (goal {RATIO})")
    cores = [many.server / one.server for one, many in pairs]
    print(f"cores they were given, likewise: {spread(cores, '.2f')}")
    costs = [many.cpu_per_request / one.cpu_per_request for one, many in pairs]
    print(f"CPU a request, likewise: {spread(costs, '.2f')}; free cores give {arguments.workers} / this")
    free = [ratio for ratio, pair in zip(ratios, pairs, strict=True) if undisturbed(pair)]
    if free:
        print(f"the ratio in the {len(free)} of {len(pairs)} rounds on free cores: {spread(free, '.2f')}")
    else:
        print("no round had the cores to itself: the ratio says how busy the machine was, and little else")


def undisturbed(pair: Iterable[Measured]) -> bool:
    """Other programs took less than a twentieth of a core."""
    return all(one.others < 0.05 for one in pair)


def measured(workers: int, n: int, connections: int, seconds: float) -> Measured:
    """One fresh server under load."""
    with reuseport(workers, "--no-access-log") as server:
        processes = [server.process, *server.children()]
        began, machine, before = time.monotonic(), machine_seconds(), cpu_seconds(processes)
        load = wrk(f"{server.url}/api/{n}", connections, seconds)
        after = cpu_seconds(processes)
        lasted = time.monotonic() - began
        busy = machine_seconds() - machine
        used = after - before
    return Measured(
        rate=load.rate,
        latency=load.latency,
        errors=load.errors,
        server=used / lasted,
        wrk=load.cpu / lasted,
        others=max(0.0, busy - used - load.cpu) / lasted,
        cpu_per_request=used / load.requests,
    )


def calibrated(seconds: float) -> int:
    """An n for which `/api/{n}` takes about so many seconds of CPU, to two digits."""
    with reuseport(1, "--no-access-log") as server:
        workers = server.children()
        before = cpu_seconds(workers)
        with urlopen(f"{server.url}/api/{CALIBRATION_N}") as response:  # noqa: S310 - our own http:// URL
            response.read()
        used = cpu_seconds(workers) - before
    n = round(CALIBRATION_N * seconds / used)
    return round(n, 2 - len(str(n)))


if __name__ == "__main__":
    main()
