"""Does a reload free the old code? What all processes hold (PSS) after each of 50 reloads, each of an
application with 16 MiB of its own, which the mold imports anew: flat, if nothing of what was stays.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import time
from http.client import HTTPConnection

from bench.footprint import proportional_mib
from bench.kit.measure import HOST, PATIENCE, Server, announce, reuseport

APP = "bench.served.laden:app"
ASKED = 10
"""Requests for each worker, each on its own connection."""
WARM = 5
"""Reloads after which the launcher has said and counted everything once."""


def main() -> None:
    """Start, reload, look, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.freed", description=__doc__)
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("flags", nargs="*", default=["--preload"], help="of reuseport, after --")
    arguments = parser.parse_args()
    announce(arguments)

    with reuseport(arguments.workers, APP, *arguments.flags) as server:
        held = [_held(server, arguments.workers)]
        began = time.monotonic()
        for _ in range(arguments.reloads):
            since = time.monotonic()
            server.process.send_signal(signal.SIGHUP)
            server.line(r"generation \d+ serves in every slot", since)
            held.append(_held(server, arguments.workers))
        lasted = time.monotonic() - began

    few = max(1, arguments.reloads // 10)
    first, last = (statistics.median(part) for part in (held[WARM : WARM + few], held[-few:]))
    print(f"{arguments.reloads} reloads in {lasted:.0f} s; held by all processes, PSS in MiB:")
    print(" ".join(f"{mib:.1f}" for mib in held))
    print(f"after the first {WARM}: {first:.1f}; at the end: {last:.1f} ({last - first:+.2f})")


def _held(server: Server, workers: int) -> float:
    """MiB, when those of the generation before have gone and all workers have answered."""
    deadline = time.monotonic() + PATIENCE
    while len(server.children()) > workers + 1:
        if time.monotonic() > deadline:
            raise TimeoutError("workers or molds of an older generation stay")
        time.sleep(0.01)
    port = int(server.url.rpartition(":")[2])
    for _ in range(ASKED * workers):
        asking = HTTPConnection(HOST, port, timeout=PATIENCE)
        asking.request("GET", "/")
        asking.getresponse().read()
        asking.close()
    return sum(map(proportional_mib, (server.process, *server.children())))


if __name__ == "__main__":
    main()
