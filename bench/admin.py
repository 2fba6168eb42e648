"""What do the admin address, an open page and a scrape cost the launcher, beside N idle workers?

Goals at 64 workers: 2 % of a core with the admin address on, 20 ms a scrape.
"""

from __future__ import annotations

import argparse
import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from statistics import median

from bench.kit.measure import HOST, Server, announce, cpu_seconds, free_port, reuseport, spread

SETTLE = 3.0
"""Seconds after the start that are not counted."""
MOST_CPU = 0.02
MOST_SCRAPE = 0.020
FRESH = 0.5
"""Seconds between scrapes: who asks again sooner waits, for views may take a tenth of the time only."""


def main() -> None:
    """Start, wait, look, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.admin", description=__doc__)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to look, each time")
    parser.add_argument("--scrapes", type=int, default=40)
    arguments = parser.parse_args()
    announce(arguments)
    count = arguments.workers
    with reuseport(count, "--no-control") as server:
        report("off", server, arguments.seconds)
    port = free_port()
    with reuseport(count, "--admin", f"{HOST}:{port}") as server:
        report(f"on, nobody has visited (goal {MOST_CPU:.0%})", server, arguments.seconds)
        with streaming(port):
            report(f"on, one page open (goal {MOST_CPU:.0%})", server, arguments.seconds)
        for path in ("/metrics", "/api/v1/status", "/readyz"):
            took = list(scrapes(port, path, arguments.scrapes))
            print(f"{path}: {spread([1000 * each for each in took], '.1f')} ms", end="")
            goal = f" (goal {1000 * MOST_SCRAPE:.0f} ms at 64 slots)" if path == "/metrics" else ""
            print(f"{goal}: {'met' if median(took) <= MOST_SCRAPE else 'MISSED'}")


def report(name: str, server: Server, seconds: float) -> None:
    """The launcher's share of a core, and its memory."""
    time.sleep(SETTLE)
    began, before = time.monotonic(), cpu_seconds([server.process])
    time.sleep(seconds)
    share = (cpu_seconds([server.process]) - before) / (time.monotonic() - began)
    rss = server.process.memory_info().rss / 2**20
    print(f"admin {name}: {share:.2%} of a core, {rss:.1f} MiB resident", flush=True)


@contextmanager
def streaming(port: int) -> Iterator[None]:
    """Somebody has the page open: reads its stream, and nothing else."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=30)) as connection:
        connection.request("GET", "/api/v1/stream")
        response = connection.getresponse()
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                response.readline()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield
        over.set()
        reader.join()


def scrapes(port: int, path: str, count: int) -> Iterator[float]:
    """Seconds from asking to the last byte, on one connection."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=30)) as connection:
        for _ in range(count):
            time.sleep(FRESH)
            began = time.monotonic()
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"{path} answered {response.status}")
            yield time.monotonic() - began


if __name__ == "__main__":
    main()
