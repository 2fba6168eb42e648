"""What does supervision cost while nothing happens: CPU and memory of an idle launcher and its workers?

Goals for a launcher with 8 idle workers: 0.5 % of a core, 32 MiB resident. For 64 and their launcher, all
together: 3 % of a core (`--workers 64`).
"""

from __future__ import annotations

import argparse
import time

import psutil

from bench.kit.measure import announce, cpu_seconds, reuseport, spread

SETTLE = 5.0
"""Seconds after the start that are not counted."""

MOST_CPU = 0.005
MOST_CPU_OF_64 = 0.03
MOST_RSS = 32 * 2**20


def main() -> None:
    """Start, wait, look, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to look")
    parser.add_argument("flags", nargs="*", help="of reuseport, after --")
    arguments = parser.parse_args()
    announce(arguments)

    with reuseport(arguments.workers, *arguments.flags) as server:
        launcher, workers = server.process, server.workers()
        time.sleep(SETTLE)
        began = time.monotonic()
        before = [cpu_seconds([process]) for process in (launcher, *workers)]
        time.sleep(arguments.seconds)
        after = [cpu_seconds([process]) for process in (launcher, *workers)]
        lasted = time.monotonic() - began
        rss = launcher.memory_info().rss
        resident = [worker.memory_info().rss / 2**20 for worker in workers]
        proportional = [proportional_mib(worker) for worker in workers]

    launched, *worked = [(now - then) / lasted for then, now in zip(before, after, strict=True)]
    print(f"launcher, {len(workers)} idle workers: {launched:.3%} of a core (goal {MOST_CPU:.1%})")
    together = launched + sum(worked)
    print(f"all together: {together:.3%} of a core (goal {MOST_CPU_OF_64:.1%} for 64 workers)")
    print(f"launcher RSS: {rss / 2**20:.1f} MiB (goal {MOST_RSS / 2**20:.0f} MiB)")
    print(f"one idle worker: {spread([100 * share for share in worked])} % of a core")
    print(
        f"one worker's RSS: {spread(resident, '.1f')} MiB; its share of shared pages counted once, PSS: ",
        end="",
    )
    print(f"{spread(proportional, '.1f')} MiB")


def proportional_mib(process: psutil.Process) -> float:
    """PSS in MiB: a page that n processes share counts as 1/n (proc_pid_smaps(5))."""
    return float(process.memory_full_info().pss) / 2**20


if __name__ == "__main__":
    main()
