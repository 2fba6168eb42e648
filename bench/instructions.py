"""Instructions that are executed for one request, by valgrind: the same on a busy machine as on a quiet one.

    python -m bench.instructions [--app raw|starlette] [--request NAME]…

One interpreter answers each kind of request through uvicorn's protocol and ours, each in two lengths; the
difference of the two, by requests, is what one more request executes. The event loop is asyncio's: uvloop is
no Python.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.share import CONNECTIONS, REQUESTS, Served, closing, kept

MARK = "getloadavg"
"""A function of the C library that nobody else calls: valgrind writes down its counts and begins anew."""
WARM, SHORT, LONG = 15, 5, 20
"""Rounds of CONNECTIONS requests."""
WHO = ("uvicorn", "reuseport")


def mark() -> None:
    """The end of one count and the beginning of the next."""
    os.getloadavg()


async def run(app: str, requests: Sequence[str]) -> None:
    """What is counted, in this process."""
    for request in requests:
        how = closing if request == "last" else kept
        for who in WHO:
            served = Served(who, app)
            for rounds in (WARM, SHORT, LONG):
                mark()
                await how(served, REQUESTS[request], rounds)
    mark()


def counted(app: str, requests: Sequence[str]) -> dict[str, dict[str, float]]:
    """Instructions of each kind of request, by who answers it. Raises RuntimeError, FileNotFoundError without
    valgrind.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise FileNotFoundError("valgrind is not installed: apt-get install valgrind")
    with tempfile.TemporaryDirectory() as directory:
        options = ("--tool=callgrind", f"--callgrind-out-file={directory}/out", f"--dump-before={MARK}")
        inner = ("-m", "bench.instructions", "--inside", "--app", app, "--request", *requests)
        subprocess.run(
            [valgrind, "-q", *options, sys.executable, *inner],
            check=True,
            # Hashes decide how often a dictionary has to look twice.
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        dumps = sorted(Path(directory).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        counts = [_total(path) for path in dumps]
    # The first is everything before; then three for each, of which the warm-up does not count.
    if len(counts) < 1 + 3 * len(WHO) * len(requests):
        raise RuntimeError(f"valgrind has not seen every call of {MARK}: {len(counts)} counts")
    of_each = iter([(long - short) for short, long in zip(counts[2::3], counts[3::3], strict=False)])
    return {
        request: {who: next(of_each) / ((LONG - SHORT) * CONNECTIONS) for who in WHO} for request in requests
    }


def _total(dump: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)", dump.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{dump} says no total")
    return int(found[1])


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.instructions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--app", choices=("raw", "starlette"), default="raw")
    parser.add_argument("--request", choices=REQUESTS, nargs="+", default=["hello"])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        asyncio.run(run(arguments.app, arguments.request))
        return
    for request, found in counted(arguments.app, arguments.request).items():
        theirs, ours = found.values()
        print(
            f"{arguments.app}, {request}: uvicorn {theirs:,.0f}, reuseport {ours:,.0f} instructions, "
            f"ratio {ours / theirs:.3f}"
        )


if __name__ == "__main__":
    main()
