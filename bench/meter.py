"""What do the meter of requests and the access log cost a worker? CPU time per request, with and without.

    meter    a worker without its meter of requests, and with it           goal: at most 1.02 times
    access   no access log, one into a file, one into a pipe               goal: at most 1.10 times
    uvicorn  bare uvicorn without and with its access log, into a file     the control

Measured as in bench.overhead: fresh servers in each round, and within it the load goes to and fro between
them in slices of a second, so that what a neighbour on the machine costs meets all of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench.measure import Server, announce, free_port, reuseport, served, spread
from bench.overhead import Account, compare

Variant = Callable[[tuple[str, ...], Path], AbstractContextManager[Server]]
"""A server with these flags, which may write into this directory."""


def bare(flags: tuple[str, ...], _: Path) -> AbstractContextManager[Server]:
    """A worker that counts no requests."""
    return reuseport(1, *flags, "--no-access-log", "--http", "bench.bare:Bare")


def metered(flags: tuple[str, ...], _: Path) -> AbstractContextManager[Server]:
    """The same that does."""
    return reuseport(1, *flags, "--no-access-log", "--http", "bench.bare:Metered")


def quiet(flags: tuple[str, ...], _: Path) -> AbstractContextManager[Server]:
    """A worker without an access log."""
    return reuseport(1, *flags, "--no-access-log")


def into_file(flags: tuple[str, ...], directory: Path) -> AbstractContextManager[Server]:
    """One that logs into a file."""
    return reuseport(1, *flags, "--access-log-file", str(directory / "access"))


@contextmanager
def into_pipe(flags: tuple[str, ...], directory: Path) -> Iterator[Server]:
    """One that logs into a pipe, which is read as fast as it comes."""
    pipe = directory / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/cat", pipe], stdout=subprocess.DEVNULL) as reader:
        with reuseport(1, *flags, "--access-log-file", str(pipe)) as server:
            yield server
        reader.terminate()


def uvicorn_quiet(flags: tuple[str, ...], _: Path) -> AbstractContextManager[Server]:
    """uvicorn without an access log."""
    return _uvicorn(Path("/dev/null"), *flags, "--no-access-log")


def uvicorn_into_file(flags: tuple[str, ...], directory: Path) -> AbstractContextManager[Server]:
    """uvicorn, which logs to stdout, and that is a file."""
    return _uvicorn(directory / "uvicorn", *flags)


def _uvicorn(stdout: Path, *flags: str) -> AbstractContextManager[Server]:
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", *flags, "--port", str(port))
    shell = ("/bin/sh", "-c", 'to=$1; shift; exec "$@" >> "$to"', "sh", str(stdout))
    return served((*shell, *command), port, r"Uvicorn running on")


GROUPS: dict[str, tuple[Variant, ...]] = {
    "meter": (bare, metered),
    "access": (quiet, into_file, into_pipe),
    "uvicorn": (uvicorn_quiet, uvicorn_into_file),
}


def main() -> None:
    """Measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.meter", description=__doc__)
    parser.add_argument("--app", default="reuseport.demo:app", help="application to serve")
    parser.add_argument("--path", default="/")
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=6, help="of a second, for each server in each round")
    parser.add_argument("--only", choices=["all", *GROUPS], default="all", help="one of the comparisons")
    arguments = parser.parse_args()
    announce(arguments)
    for group in GROUPS if arguments.only == "all" else [arguments.only]:
        measure(group, arguments)


def measure(group: str, arguments: argparse.Namespace) -> None:
    """One comparison: each variant against the first."""
    first, *others = GROUPS[group]
    ratios: dict[str, list[float]] = {each.__name__: [] for each in others}
    for number in range(arguments.rounds):
        costs = costs_of(GROUPS[group], arguments)
        for name, found in ratios.items():
            found.append(costs[name] / costs[first.__name__])
        said = ", ".join(f"{name} {cost * 1e6:.1f}" for name, cost in costs.items())
        print(f"{group}, round {number + 1}, µs of CPU a request: {said}", flush=True)
    for name, found in ratios.items():
        print(f"{name} against {first.__name__}, within a round: {spread(found)}", flush=True)


def costs_of(variants: tuple[Variant, ...], arguments: argparse.Namespace) -> dict[str, float]:
    """One round: CPU seconds of the serving process per request."""
    flags = (arguments.app, "--loop", arguments.loop)
    with ExitStack() as running:
        accounts = []
        for each in variants:
            directory = Path(running.enter_context(tempfile.TemporaryDirectory()))
            accounts.append(Account(each.__name__, running.enter_context(each(flags, directory))))
        compare(accounts, arguments)
        if errors := sum(account.errors for account in accounts):
            raise SystemExit(f"{errors} requests failed")
    return {account.name: account.spent_serving / account.requests for account in accounts}


if __name__ == "__main__":
    main()
