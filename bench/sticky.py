"""What does it cost that a request is moved to the worker that knows its session?

One client on one connection, two workers and --sticky insert, whose cookie says which of them is to answer.
In turns of some hundred requests, all are for one worker, or each for the other one than the last: then each
of them is moved. Compared are the times to an answer and the CPU time of both workers, turn by turn with the
turn before. Goal: 150 µs. A client that keeps its connection is moved once, one behind a proxy's pool often.

And what it costs that somebody looks for a key: the CPU time of a request that has none, with --sticky and
without, two servers with one worker each, loaded in turns.
"""

from __future__ import annotations

import argparse
import socket
import time
from contextlib import closing
from statistics import median

from bench.kit.measure import HOST, Server, announce, cpu_seconds, interleaved, reuseport, spread
from bench.overhead import Account

APP = "bench.served.small:raw"
GOAL = 150.0
"""Microseconds."""
REQUESTS = 500
"""In a turn."""


def main() -> None:
    """Measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sticky", description=__doc__)
    parser.add_argument("--app", default=APP, help="application to serve")
    parser.add_argument("--path", default="/")
    parser.add_argument("--loop", default="uvloop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=12, help="of each kind, in each round")
    parser.add_argument("--connections", type=int, default=32, help="of the load without a key")
    arguments = parser.parse_args()
    announce(arguments)

    flags = (arguments.app, "--loop", arguments.loop, "--no-access-log")
    later, dearer, ratios = [], [], []
    for _ in range(arguments.rounds):
        with reuseport(2, *flags, "--sticky", "insert", "--no-rebalance") as server:
            latency, cpu = move(server, arguments.path, arguments.turns)
            later.append(latency)
            dearer.append(cpu)
        with (
            reuseport(1, *flags) as without,
            reuseport(1, *flags, "--sticky", "header:mcp-session-id") as looked,
        ):
            ratios.append(looking(without, looked, arguments))
    print(f"a moved request is answered later by {spread(later, '.1f')} µs (goal {GOAL:.0f})")
    print(f"a moved request takes more CPU by {spread(dearer, '.1f')} µs (goal {GOAL:.0f})")
    print(f"CPU of a request without a key, --sticky by none: {spread(ratios)}")


def move(server: Server, path: str, turns: int) -> tuple[float, float]:
    """What a move adds to the time of an answer, by the median of turns, and to its CPU; microseconds."""
    workers = server.children()
    host, _, port = server.url.rpartition("/")[2].rpartition(":")
    with closing(socket.create_connection((host or HOST, int(port)))) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        turn(client, path, (0, 1))
        later, cpu = [], 0.0
        for _ in range(turns):
            at_first = cpu_seconds(workers)
            stayed = turn(client, path, (0,))
            between = cpu_seconds(workers)
            moved = turn(client, path, (0, 1))
            later.append(moved - stayed)
            cpu += cpu_seconds(workers) - between - (between - at_first)
    return median(later), cpu / turns / REQUESTS * 1e6


def turn(client: socket.socket, path: str, slots: tuple[int, ...]) -> float:
    """Ask REQUESTS times, for these slots by turns; the median time to an answer in microseconds."""
    times = []
    for number in range(REQUESTS):
        slot = slots[(number + 1) % len(slots)]
        cookie = f"Cookie: reuseport={slot}-0123456789abcdef"
        asked = time.perf_counter()
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{cookie}\r\n\r\n".encode())
        if not client.recv(65536).startswith(b"HTTP/1.1 200 "):
            raise RuntimeError("a request was not answered")
        times.append(time.perf_counter() - asked)
    return median(times) * 1e6


def looking(without: Server, looked: Server, arguments: argparse.Namespace) -> float:
    """CPU time of a request where somebody looks for a key, by that where nobody does."""
    accounts = Account("without", without), Account("with", looked)
    for _, account in interleaved(accounts, 5):
        account.load(arguments.path, arguments.connections)
    plain, sticky = (account.spent_serving / account.requests for account in accounts)
    return sticky / plain


if __name__ == "__main__":
    main()
