"""What do the meter of requests and the access log cost a worker? CPU time per request, with and without.

One worker serves without and with them in turn (bench.served.alternating), under load from wrk; figures of
one turn are compared with those of the turns around it. Each round has a fresh worker: where an interpreter's
memory happens to lie makes a difference. Goals: the meter at most 1.02 times, the access log at most 1.10.

The control is bare uvicorn without and with its access log, into a file: two servers, loaded in turns of a
second.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench.kit.measure import Server, announce, free_port, reuseport, served, spread, wrk
from bench.overhead import Account, compare
from bench.served.alternating import WAYS

AGAINST = {"metered": "bare", "access": "metered", "logging": "metered"}
"""What each way is compared with."""


def main() -> None:
    """Measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.meter", description=__doc__)
    parser.add_argument("--app", default="reuseport.demo:app", help="application to serve")
    parser.add_argument("--path", default="/")
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load, for each worker")
    parser.add_argument("--slices", type=int, default=4, help="of a second, for each uvicorn in each round")
    arguments = parser.parse_args()
    announce(arguments)
    for name, into in (("a file", into_file), ("a pipe", into_pipe)):
        rounds = [alternate(into, arguments) for _ in range(arguments.rounds)]
        for way, base in AGAINST.items():
            print(
                f"{way} against {base}, log into {name}: {spread([each[way] for each in rounds])}", flush=True
            )
    control = [uvicorn_round(arguments) for _ in range(arguments.rounds)]
    print(f"uvicorn, its access log against none: {spread(control)}", flush=True)


# ── one worker, several ways ──────────────────────────────────────────────────────────────────────────


def alternate(
    into: Callable[[Path], AbstractContextManager[Path]], arguments: argparse.Namespace
) -> dict[str, float]:
    """One worker's ratios."""
    flags = (arguments.app, "--loop", arguments.loop, "--http", "bench.served.alternating:Alternating")
    with tempfile.TemporaryDirectory() as directory, into(Path(directory)) as log:
        account = Path(directory) / "account"
        os.environ["BENCH_ACCOUNT"] = str(account)
        with reuseport(1, *flags, "--access-log-file", str(log)) as server:
            wrk(server.url + arguments.path, arguments.connections, 1.0)
            warm = len(_read(account)[WAYS[0]])
            load = wrk(server.url + arguments.path, arguments.connections, arguments.seconds)
            turns = {way: found[warm:] for way, found in _read(account).items()}
        if load.errors:
            raise SystemExit(f"{load.errors} requests failed")
    cost = {way: [spent / max(1, answered) for spent, answered in found] for way, found in turns.items()}
    print(", ".join(f"{way} {median(found) / 1000:.1f} µs" for way, found in cost.items()), flush=True)
    return {
        way: median(one / other for one, other in zip(cost[way], cost[base], strict=False))
        for way, base in AGAINST.items()
    }


def _read(account: Path) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = json.loads(account.read_text(encoding="ascii"))
    return found


@contextmanager
def into_file(directory: Path) -> Iterator[Path]:
    """A file."""
    yield directory / "log"


@contextmanager
def into_pipe(directory: Path) -> Iterator[Path]:
    """A pipe that is read as fast as it fills."""
    pipe = directory / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["/bin/cat", pipe], stdout=subprocess.DEVNULL) as reader:
        yield pipe
        reader.terminate()


# ── the control ───────────────────────────────────────────────────────────────────────────────────────


def uvicorn_round(arguments: argparse.Namespace) -> float:
    """CPU time of a request with uvicorn's access log in a file, by that without."""
    flags = (arguments.app, "--loop", arguments.loop)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        variants: Sequence[tuple[Path, str]] = (
            (Path("/dev/null"), "--no-access-log"),
            (Path(directory) / "log", "--access-log"),
        )
        quiet, logging = (
            Account(flag, running.enter_context(uvicorn(stdout, *flags, flag))) for stdout, flag in variants
        )
        compare((quiet, logging), arguments)
    return logging.spent / logging.requests / (quiet.spent / quiet.requests)


def uvicorn(stdout: Path, *flags: str) -> AbstractContextManager[Server]:
    """Bare uvicorn, which logs requests to stdout."""
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", *flags, "--port", str(port))
    shell = ("/bin/sh", "-c", 'to=$1; shift; exec "$@" >> "$to"', "sh", str(stdout))
    return served((*shell, *command), port, r"Uvicorn running on")


if __name__ == "__main__":
    main()
