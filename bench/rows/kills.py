"""Rows of the table about workers that die: what only they held may be lost, and nothing else."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.kit.clients import Crowd, Tally, Target, steadily
from bench.kit.contest import SETTLE, Running, accept_queues, running, until
from bench.kit.measure import HOST
from bench.kit.row import Figure, Size
from bench.kit.tools import ab
from bench.served.peers import Contestant

QUEUED = 100
MOST_CLIENTS = 600
"""Connections made at most to fill one worker's queue; the kernel's hash gives it about half of them."""
SIBLINGS = 0.15
"""Seconds given to the other worker to answer its share, before a silent event loop counts as stalled."""
IMPORT_SECONDS = 1.5
AFTER = IMPORT_SECONDS + 1.5
"""Seconds after a kill whose requests are looked at: until the replacement serves, and a little beyond."""
RATE = 200.0
WARM = 0.5
KILLS_EACH = 4
"""Kills of one server before it is started anew: each restart in a row is delayed longer than the last."""


def queue(contestant: Contestant, size: Size) -> Iterator[Figure]:  # noqa: ARG001 - it is short as it is
    """SIGKILL of a stopped worker with 100 connections in its accept queue."""
    with running(contestant) as one, ExitStack() as stack:
        victim = one.workers()[0]
        os.kill(victim, signal.SIGSTOP)
        clients: list[socket.socket] = []
        request = Target(one.port).request("close")
        while max(accept_queues(one.port)) < QUEUED and len(clients) < MOST_CLIENTS:
            client = stack.enter_context(socket.create_connection((HOST, one.port)))
            client.sendall(request)
            clients.append(client)
        begun = time.monotonic()
        first = _collect(clients, lambda: time.monotonic() > begun + SIBLINGS)
        waiting = [client for client in clients if client not in first]
        queued = max(accept_queues(one.port))
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        answers = _collect(waiting, lambda: time.monotonic() > killed + 10)
    good = [at - killed for at, answer in answers.values() if answer.startswith(b"HTTP/1.1 200")]
    before = sum(answer.startswith(b"HTTP/1.1 200") for _, answer in first.values())
    if not waiting:
        yield Figure(
            f"{len(clients)} clients, {before} answered before the kill, nobody waits for the stopped worker",
            met=before == len(clients),
            short="no queue of its own: all answered by the sibling",
        )
        return
    earliest = min(good, default=float("inf"))
    latest = max(good, default=float("inf"))
    yield Figure(
        f"{len(clients)} clients, {len(waiting)} unanswered at the kill ({queued} in the longest queue): "
        f"{len(good)} answered, first after {earliest * 1e3:.0f} ms, last after {latest * 1e3:.0f} ms",
        met=len(waiting) >= QUEUED and len(good) == len(waiting) and earliest <= 0.1,
        short=f"{len(good)} of {len(waiting)}, first after {earliest * 1e3:.0f} ms",
    )


def _collect(
    clients: Sequence[socket.socket], over: Callable[[], bool]
) -> dict[socket.socket, tuple[float, bytes]]:
    """When each client heard something, and what; empty is an end of file or a reset."""
    heard: dict[socket.socket, tuple[float, bytes]] = {}
    by_fd = {client.fileno(): client for client in clients}
    with selectors.DefaultSelector() as waiting:
        for client in clients:
            waiting.register(client, selectors.EVENT_READ)
        while waiting.get_map() and not over():
            for key, _ in waiting.select(0.01):
                client = by_fd[key.fd]
                waiting.unregister(client)
                try:
                    answer = client.recv(4096)
                except ConnectionError:
                    answer = b""
                heard[client] = time.monotonic(), answer
    return heard


def slow_start(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """SIGKILL of one of two workers; the application takes 1.5 s to import; 200 new connections a second."""
    tally, lost, windows = Tally(), 0, []
    for _ in range(size.of(10)):
        slow = {"BENCH_IMPORT_SECONDS": str(IMPORT_SECONDS)}
        with (
            running(contestant, environment=slow) as one,
            Crowd(steadily(Target(one.port), tally, RATE)),
        ):
            time.sleep(1.0)
            began = time.monotonic()
            lost += _kill_oldest(one)
            time.sleep(AFTER)
            windows.append((began, began + AFTER))
    after = sorted(
        latency
        for due, latency in tally.latencies
        if any(start - 0.05 <= due <= end for start, end in windows)
    )
    p99, slowest = after[int(len(after) * 0.99)], after[-1]
    yield Figure(
        f"{len(windows)} kills, {len(after)} requests due in {AFTER:g} s after one: p99 {p99 * 1e3:.1f} ms, "
        f"slowest {slowest * 1e3:.0f} ms; "
        f"{tally.lost()} failed, {lost} were being executed "
        f"({tally})",
        met=p99 <= 0.020 and slowest <= 0.250 and tally.lost() <= lost,
        short=f"p99 {p99 * 1e3:.0f} ms, slowest {slowest * 1e3:.0f} ms, {tally.lost()} failed",
    )


@dataclass
class Toll:
    """What SIGKILLs cost; each figure a sum over all of them."""

    kills: int = 0
    executing: int = 0
    accepted: int = 0
    failed: int = 0
    answered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def kill(self, one: Running) -> None:
        """Count what the oldest worker has in hand, kill it, wait for its replacement."""
        victim = one.workers()[0]
        self.accepted += one.held(victim)
        self.executing += one.kill(victim)
        self.kills += 1
        until(lambda: len(one.workers()) == one.setup.workers, "the replacement")
        if not one.contestant.tells:
            time.sleep(SETTLE)

    def figure(self, name: str) -> Figure:
        """The row's figure for one kind of load."""
        return Figure(
            f"{name}: {self.kills} kills; {self.executing} were being executed by the killed, who held "
            f"{self.accepted} accepted connections; {self.failed} failed of {self.answered} answered "
            f"{dict(self.reasons)}",
            met=self.failed <= self.executing,
            short=f"{self.failed} failed, {self.executing} executing, {self.accepted} accepted",
        )


def many_kills(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """100 SIGKILLs under load, for each of three loads of a connection per request."""
    yield _at_a_rate(contestant, size, "300/s, handlers that wait 20 ms", "/wait/20")
    yield _at_a_rate(contestant, size, "300/s, handlers that compute 2 ms", "/work/2")
    yield _at_saturation(contestant, size)


def _at_a_rate(contestant: Contestant, size: Size, name: str, path: str) -> Figure:
    toll = Toll()
    while toll.kills < size.of(100):
        tally = Tally()
        with running(contestant) as one, Crowd(steadily(Target(one.port, path), tally, 300.0)):
            time.sleep(WARM)
            for _ in range(KILLS_EACH):
                toll.kill(one)
        toll.failed += tally.lost()
        toll.answered += tally.answered
        toll.reasons += tally.reasons
    return toll.figure(name)


def _at_saturation(contestant: Contestant, size: Size) -> Figure:
    toll = Toll()
    while toll.kills < size.of(100):
        with running(contestant) as one, ab(one.url(), 32) as load:
            time.sleep(WARM)
            for _ in range(KILLS_EACH):
                toll.kill(one)
        toll.failed += load.lost
        toll.answered += load.answered
        toll.reasons[f"{load.lost} a server"] += 1
    return toll.figure("ab at saturation")


def _kill_oldest(one: Running) -> int:
    return one.kill(one.workers()[0])
