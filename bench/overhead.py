"""What does a worker cost per request, compared with bare uvicorn?

Same application, event loop, parser and load; one worker, so both are one process that serves, and CPU time
per request is compared. Goal: at most 1.03 times.
A round has two fresh servers: where an interpreter's memory happens to lie makes one process some per cent
slower than the next, so a pair that lived for all rounds would repeat one draw and not average it. Within a
round the load goes to and fro between them in slices of a second, so that a neighbour on the machine, who
makes each request dearer, meets both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from bench.kit.measure import (
    Server,
    announce,
    cpu_seconds,
    free_port,
    interleaved,
    reuseport,
    served,
    spread,
    wrk,
)

RATIO = 1.03
SLICE = 1.0
"""Seconds of load at a time; the first on each server warms it up and is not counted."""


class Account:
    """A server in one round: what it has answered, and the CPU seconds that took."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server = server
        self.serving = server.children() or [server.process]
        self.everything = [server.process, *server.children()]
        self.requests = self.errors = 0
        self.spent_serving = self.spent = 0.0

    def load(self, path: str, connections: int) -> None:
        """One slice of keep-alive load."""
        serving, everything = cpu_seconds(self.serving), cpu_seconds(self.everything)
        load = wrk(self.server.url + path, connections, SLICE)
        self.spent_serving += cpu_seconds(self.serving) - serving
        self.spent += cpu_seconds(self.everything) - everything
        self.requests += load.requests
        self.errors += load.errors

    def __str__(self) -> str:
        cost = self.spent_serving / self.requests * 1e6
        return f"{self.name} {cost:.2f} µs of CPU a request, {self.requests} requests, {self.errors} errors"


def main() -> None:
    """Measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--app", default="reuseport.demo:app", help="application to serve")
    parser.add_argument("--path", default="/")
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--http", default="httptools")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=4, help="of a second, for each server in each round")
    arguments = parser.parse_args()
    announce(arguments)

    flags = (arguments.app, "--loop", arguments.loop, "--http", arguments.http, "--no-access-log")
    worker, both = [], []
    for number in range(arguments.rounds):
        with uvicorn(*flags) as bare, reuseport(1, *flags) as launched:
            theirs, ours = Account("uvicorn", bare), Account("reuseport", launched)
            compare((theirs, ours), arguments)
        worker.append(ours.spent_serving / ours.requests / (theirs.spent / theirs.requests))
        both.append(ours.spent / ours.requests / (theirs.spent / theirs.requests))
        print(f"round {number + 1}: {theirs}; {ours}; ratio {worker[-1]:.3f}", flush=True)
    print(f"worker against uvicorn, within a round: {spread(worker)} (goal {RATIO})")
    print(f"worker and launcher against uvicorn: {spread(both)}")


def compare(accounts: Sequence[Account], arguments: argparse.Namespace) -> None:
    """Warm both up, then load them in turns."""
    for account in accounts:
        wrk(account.server.url + arguments.path, arguments.connections, SLICE)
    for _, account in interleaved(accounts, arguments.slices):
        account.load(arguments.path, arguments.connections)


def uvicorn(*flags: str) -> AbstractContextManager[Server]:
    """Bare uvicorn, one process."""
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", *flags, "--port", str(port))
    return served(command, port, r"Uvicorn running on")


if __name__ == "__main__":
    main()
