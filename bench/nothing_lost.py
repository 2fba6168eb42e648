"""What do clients notice of reloads, recycling, scaling and crashes? One row for each promise.

    python -m bench.nothing_lost [ROW …] [--peers] [--short]

Real clients (wrk, ab, h2load, curl, httpx) and our own, whose every connection is accounted for; servers run
without capabilities, in a network namespace of their own with the kernel's default sysctls. What the
kernel counts there (PassiveOpens) tells how many connections were opened, so how many had been closed. Needs
root, or user namespaces, for that namespace only.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

from bench.kit.contest import enter_namespace
from bench.kit.row import Row, Size
from bench.rows import idle, kills, reloads
from bench.served.peers import OURS, PEERS, Contestant

SHORT = 5
"""Divides every count."""

ROWS = (
    Row("reload", "50 reloads, wrk keep-alive", "0 errors, 0 closed", reloads.reload_keep_alive),
    Row("connect", "50 reloads, a connection per request", "0 failed, ≥ 5,000/s", reloads.reload_connecting),
    Row("old", "a connection older than 10 reloads", "answers, newest generation", reloads.old_connection),
    Row("one", "one worker, 20 reloads, both loads", "0", reloads.one_worker),
    Row("queue", "SIGKILL with 100 in the accept queue", "100 of 100, first ≤ 100 ms", kills.queue),
    Row("start", "SIGKILL, 1.5 s import, 200/s", "p99 ≤ 20 ms, slowest ≤ 250 ms", kills.slow_start),
    Row("kill", "100 SIGKILLs under load", "failed ≤ being executed", kills.many_kills),
    Row("scale", "1→8→1 ten times, both loads", "0", reloads.scale),
    Row("recycle", "recycling every 500 requests, both loads", "0", reloads.recycle),
    Row("tls", "TLS keep-alive, 10 reloads", "0 resets, closes announced", reloads.tls),
    Row(
        "idle",
        "20,000 idle connections over 8 workers, one reload",
        "all alive, others wait ≤ 100 ms",
        idle.many_idle,
    ),
)


def main() -> None:
    """Try the rows, print the figures; peers after us."""
    parser = argparse.ArgumentParser(prog="python -m bench.nothing_lost", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--peers", action="store_true", help="the same with every peer")
    parser.add_argument("--only", metavar="NAME", help="contestants whose name contains this")
    parser.add_argument("--short", action="store_true", help=f"a {SHORT}th of every count")
    arguments = parser.parse_args()
    names = {row.name for row in ROWS}
    if not set(arguments.rows) <= names:
        parser.error(f"the rows are {', '.join(row.name for row in ROWS)}")
    enter_namespace()
    contestants = [one for one in (OURS, *PEERS) if (arguments.peers or one is OURS or arguments.only)]
    contestants = [one for one in contestants if (arguments.only or "") in one.name]
    print(f"# python -m bench.nothing_lost {' '.join(sys.argv[1:])}")
    migrate = Path("/proc/sys/net/ipv4/tcp_migrate_req").read_text(encoding="ascii").strip()
    print(
        f"# Linux {platform.release()}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}, ",
        end="",
    )
    print(f"Python {platform.python_version()}, net.ipv4.tcp_migrate_req={migrate}, servers: no capability")
    for contestant in contestants:
        print(f"# {contestant.name}: {contestant.versions()}")
    size = Size(SHORT if arguments.short else 1)
    for row in ROWS:
        if not arguments.rows or row.name in arguments.rows:
            print(f"\n## {row.name}: {row.about} (goal: {row.goal})", flush=True)
            for contestant in contestants:
                attempt(row, contestant, size)


def attempt(row: Row, contestant: Contestant, size: Size) -> None:
    """One row with one contestant. A peer that gives up is a figure, too."""
    begun, seen = time.monotonic(), 0
    try:
        for figure in row.scenario(contestant, size):
            seen += 1
            verdict = "met" if figure.met else "MISSED"
            print(f"{contestant.name}: {verdict}: {figure.short}\n    {figure.text}", flush=True)
    except (OSError, TimeoutError, RuntimeError, LookupError, ValueError) as error:
        print(f"{contestant.name}: MISSED: gave up: {type(error).__name__}: {str(error)[-600:]}", flush=True)
        seen += 1
    if not seen:
        print(f"{contestant.name}: has no such feature", flush=True)
    print(f"    ({time.monotonic() - begun:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
