"""What do others notice of slow clients? Thousands of half requests beside a steady load, and without them.

    python -m bench.loris [--slow N] [--rounds N] [--samples N] [--seconds N]

Each slow client sends a byte of its headers a second, for as long as it is let, and comes again at once when
it is turned away: from a process of its own. The server has one CPU, and all clients another. The others ask
on connections that they keep, and at a constant rate on new ones; those latencies count from when they were
due. With and without are measured in turns of one server, in one run, and in many short samples each: on a
machine with other things to do the best ones tell most. The ratios of each round's medians are there, too.
Without, the slow clients are there as well, and take their share of the clients' CPU, but come to a listener
from which nobody accepts.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import math
import multiprocessing
import os
import resource
import select
import socket
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from statistics import median, quantiles

from bench.kit.clients import Crowd, Tally, Target, keeping_alive, steadily
from bench.kit.measure import HOST, announce, cpu_seconds, reuseport, spread

HEAD = b"GET / HTTP/1.1\r\nHost: bench\r\nX-Slow: "
EVERY = 1.0
"""Seconds between two bytes of a slow client."""
COMING = 8.0
"""Seconds in which they come."""
RATE = 200.0
"""Requests a second on new connections."""
KEPT = 8
"""Connections that are kept, and asked some 40 times a second."""
APPLICATION = "bench.served.application:app"


def slow(port: int, number: int, all_there: Event, over: Event) -> None:
    """So many clients that never finish, each with a pace of its own; in a process of its own."""
    poll = select.epoll()
    clients: dict[int, socket.socket] = {}
    due: list[tuple[float, int]] = []
    """When each sends its next byte, soonest first."""

    def come() -> None:
        with contextlib.suppress(OSError):
            client = socket.create_connection((HOST, port))
            client.setblocking(False)
            client.send(HEAD)
            clients[client.fileno()] = client
            poll.register(client, select.EPOLLIN | select.EPOLLRDHUP)
            heapq.heappush(due, (time.monotonic() + EVERY, client.fileno()))

    begun = time.monotonic()
    while not over.is_set():
        # They come one by one, for as long as each is let, so that they are not turned away all at once.
        if not all_there.is_set():
            while len(clients) < min(number, number * (time.monotonic() - begun) / COMING):
                come()
            if len(clients) >= number:
                all_there.set()
        for fd, _ in poll.poll(0.002):
            poll.unregister(fd)
            clients.pop(fd).close()
            come()
        while due and due[0][0] < time.monotonic():
            _, fd = heapq.heappop(due)
            if fd in clients:
                with contextlib.suppress(OSError):
                    clients[fd].send(b"x")
                heapq.heappush(due, (time.monotonic() + EVERY, fd))


@contextlib.contextmanager
def beside(port: int, number: int) -> Iterator[None]:
    """Slow clients, once they are all connected."""
    there, over = multiprocessing.Event(), multiprocessing.Event()
    process = multiprocessing.Process(target=slow, args=(port, number, there, over), daemon=True)
    process.start()
    there.wait()
    try:
        yield
    finally:
        over.set()
        process.join()


def others(port: int, seconds: float) -> Tally:
    """What the others get in that time."""
    tally = Tally()
    target = Target(port)
    with Crowd(steadily(target, tally, RATE), *(keeping_alive(target, tally) for _ in range(KEPT))):
        time.sleep(seconds)
    return tally


def p99(tally: Tally) -> float:
    """Milliseconds."""
    return 1000 * quantiles([latency for _, latency in tally.latencies], n=100)[98]


def main() -> None:
    """Measure in turns, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.loris", description=__doc__)
    parser.add_argument("--slow", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--samples", type=int, default=6, help="in each of the two turns of a round")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    announce(arguments)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    ratios, lost, best = [], 0, (math.inf, math.inf)
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[:1])  # for the server, which inherits it
    with reuseport(arguments.workers, APPLICATION) as server:
        os.sched_setaffinity(0, cpus[1:2] or cpus)
        port = int(server.url.rpartition(":")[2])
        others(port, 1.0)
        for number in range(arguments.rounds):
            found = {}
            for with_slow in (False, True) if number % 2 else (True, False):
                with (
                    socket.create_server((HOST, 0), backlog=2 * arguments.slow) as nobody,
                    beside(port if with_slow else nobody.getsockname()[1], arguments.slow),
                ):
                    began = cpu_seconds(server.children())
                    tallies = [others(port, arguments.seconds) for _ in range(arguments.samples)]
                    cpu = cpu_seconds(server.children()) - began
                lost += sum(tally.lost() for tally in tallies)
                found[with_slow] = list(map(p99, tallies))
                name = f"{arguments.slow} slow clients" if with_slow else "the same elsewhere"
                share = cpu / sum(tally.answered for tally in tallies)
                p99s = spread(found[with_slow], ".2f")
                print(f"beside {name}: p99 {p99s} ms, {1e6 * share:.0f} µs an answer", flush=True)
            ratios.append(median(found[True]) / median(found[False]))
            best = min(best[0], *found[False]), min(best[1], *found[True])
    print(f"p99 with by without, medians: {spread(ratios, '.2f')}; lost: {lost}")
    print(f"the best: {best[1]:.2f} ms with, {best[0]:.2f} without: {best[1] / best[0]:.2f}")


if __name__ == "__main__":
    main()
