"""Does every worker get its share, and does a busy one hold anybody up? One row for each promise.

    python -m bench.balanced [ROW …] [--peers] [--only NAME] [--short]

Ours: `level 2` is --balance least-loaded, `round robin` is --balance round-robin, both with the capabilities
of who starts this; `level 0` is --balance hash without any. Rivals, without any, too: `plain`, N uvicorn
processes on the kernel's hash; `master`, a parent that accepts and hands over in turn; `uvicorn --workers`,
one listener for all. Contestants take turns in every round, and are compared within a round. Everything
happens in a network namespace of its own, with the kernel's default sysctls. Steering needs root (CAP_BPF).
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Sequence

from bench.kit.contest import enter_namespace
from bench.kit.row import Size
from bench.rows import blocked, mixed, pooled, spread
from bench.served.lineup import (
    LEVEL_0,
    LEVEL_0_STAY,
    LEVEL_2,
    LEVEL_2_STAY,
    MASTER,
    PLAIN,
    RIVALS,
    ROUND_ROBIN,
    SHARED,
    UNFLAGGED,
    Entry,
    Row,
)

SHORT = 5
"""Divides every count."""

ROWS = (
    Row("burst", "400 connections at once, 8 workers", "50 each", spread.burst, (LEVEL_2, ROUND_ROBIN)),
    Row(
        "even",
        "64 connections, 8 workers, 20 runs",
        "busiest 8",
        spread.even,
        (LEVEL_2, ROUND_ROBIN, LEVEL_0),
    ),
    Row(
        "blocked",
        "200 connections while one of 2 workers is blocked for 3 s",
        "every answer within 20 ms on level 2, 100 ms on level 0",
        blocked.blocked,
        (LEVEL_2, LEVEL_0, *RIVALS),
    ),
    Row(
        "mixed",
        "1 request in 10 costs 50 to 200 ms of CPU, a connection each; p99 of the others",
        "level 2 ≤ 0.6 of plain, ≤ master, ≤ uvicorn --workers; level 0 ≤ 0.8 of plain",
        mixed.mixed,
        (LEVEL_2, LEVEL_0, PLAIN, MASTER, SHARED),
    ),
    Row(
        "pooled",
        "16 kept connections, all on one of 8 workers at first",
        "after 2 s busiest ≤ 1.25 of the mean, throughput ≥ 1.2 of --no-rebalance, 0 errors",
        pooled.pooled,
        (LEVEL_2, LEVEL_2_STAY, LEVEL_0, LEVEL_0_STAY),
    ),
    Row(
        "costs",
        "32 kept connections, 20 or 80 ms of CPU each, 2 workers, all heavy ones on one at first",
        "completed per connection: most ≤ 1.25 of the mean",
        pooled.costs,
        (LEVEL_2, LEVEL_0, LEVEL_2_STAY),
    ),
    Row(
        "handshakes",
        "1,000 handshakes that never finish, then 64 connections again and again, 8 workers",
        "exact within 1 s",
        spread.handshakes,
        (LEVEL_2, ROUND_ROBIN),
    ),
)


def main() -> None:
    """Try the rows, print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.balanced", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--peers", action="store_true", help="all rivals in every row")
    parser.add_argument(
        "--only", metavar="NAME", help="contestants whose name contains this; also: unflagged"
    )
    parser.add_argument("--short", action="store_true", help=f"a {SHORT}th of every count")
    arguments = parser.parse_args()
    if not set(arguments.rows) <= {row.name for row in ROWS}:
        parser.error(f"the rows are {', '.join(row.name for row in ROWS)}")
    if arguments.only and not any(contestants(row, arguments) for row in ROWS):
        parser.error(f"no contestant has {arguments.only!r} in its name")
    enter_namespace()
    # Without a handler it would end this program and leave the servers, each in a session of its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(f"# python -m bench.balanced {' '.join(sys.argv[1:])}")
    print(
        f"# Linux {platform.release()}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, {PLAIN.contestant.versions()}"
    )
    size = Size(SHORT if arguments.short else 1)
    for row in ROWS:
        if not arguments.rows or row.name in arguments.rows:
            print(f"\n## {row.name}: {row.about} (goal: {row.goal})", flush=True)
            begun = time.monotonic()
            for finding in row.scenario(contestants(row, arguments), size):
                print(finding, flush=True)
            print(f"    ({time.monotonic() - begun:.0f} s)", flush=True)


def contestants(row: Row, arguments: argparse.Namespace) -> Sequence[Entry]:
    """Who takes part in a row."""
    if arguments.only:
        everybody = dict.fromkeys((*row.entries, *RIVALS, UNFLAGGED))
        return [entry for entry in everybody if arguments.only in entry.name]
    rivals = RIVALS if arguments.peers else ()
    return list(dict.fromkeys((*row.entries, *rivals)))


if __name__ == "__main__":
    main()
