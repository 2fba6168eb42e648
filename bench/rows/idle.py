"""The row of the table about sheer numbers: idle keep-alive connections through one reload."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil

from bench.kit.clients import Crowd, Tally, Target, keeping_alive
from bench.kit.contest import Running, running, until
from bench.kit.measure import HOST
from bench.kit.row import Figure, Size
from bench.served.application import BODY
from bench.served.peers import Contestant

WORKERS = 8
SPARE = 200
"""Descriptors beside those connections."""
ASKING = 8
"""Clients that go on asking, each on a connection that is kept."""
STALL = 0.1
"""Seconds that none of them is to wait in the reload."""
CALM = 2.0
"""Seconds that they ask before it."""


def many_idle(contestant: Contestant, size: Size) -> Iterator[Figure]:
    """20,000 idle keep-alive connections through one reload, and a few that go on asking."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # All of them are held by this process, and a limit of exactly so many is not rare.
    count = min(size.of(20_000), hard - SPARE)
    request = Target(0).request("keep-alive")
    with running(contestant, workers=WORKERS) as one, ExitStack() as stack:
        clients: list[socket.socket] = []
        before = 0
        while len(clients) < count:
            # Each asks soon: who stays silent for long is turned away.
            few = min(100, count - len(clients))
            new = [stack.enter_context(socket.create_connection((HOST, one.port))) for _ in range(few)]
            before += _answers(new, request)
            clients += new
        resident = _resident(one)
        tally = Tally()
        with Crowd(*(keeping_alive(Target(one.port), tally) for _ in range(ASKING))):
            time.sleep(CALM)
            begun = time.monotonic()
            one.reload()
            reloaded = time.monotonic() - begun
            peak = _resident(one)
            until(lambda: len(one.workers()) == one.setup.workers, "the old workers' end")
            settled, after = time.monotonic() - begun, _resident(one)
        alive = _answers(clients, request)
    before_it = [took for due, took in tally.latencies if due < begun]
    slowest = max(took for due, took in tally.latencies if due >= begun)
    yield Figure(
        f"{ASKING} others that go on asking: slowest answer in the reload {1e3 * slowest:.0f} ms, in "
        f"{CALM:g} s before it {1e3 * max(before_it):.0f}; {tally}",
        met=slowest <= STALL and not tally.lost(),
        short=f"{1e3 * slowest:.0f} ms, {tally.lost()} lost",
    )
    yield Figure(
        f"{before} connections before, {alive} alive after one reload: {reloaded:.1f} s, old workers gone "
        f"after {settled:.1f} s; resident {resident:.0f} MiB before, {peak:.0f} in it, {after:.0f} after",
        met=before == count and alive == count,
        short=f"{alive} of {count} alive, {settled:.1f} s, {resident:.0f} → {after:.0f} MiB",
    )


def _resident(one: Running) -> float:
    """MiB of the server and all its processes."""
    total = 0
    for process in (one.server.process, *one.server.children()):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def _answers(clients: list[socket.socket], request: bytes) -> int:
    """Ask on every connection, a hundred at a time; how many were answered."""
    answered = 0
    for start in range(0, len(clients), 100):
        with selectors.DefaultSelector() as waiting:
            by_fd = {client.fileno(): client for client in clients[start : start + 100]}
            for client in by_fd.values():
                # A closed one takes what is sent, and resets; reading tells.
                with contextlib.suppress(OSError):
                    client.sendall(request)
                waiting.register(client, selectors.EVENT_READ)
            heard = dict.fromkeys(by_fd, b"")
            deadline = time.monotonic() + 10
            while waiting.get_map() and time.monotonic() < deadline:
                for key, _ in waiting.select(1):
                    some = b""
                    with contextlib.suppress(OSError):
                        some = by_fd[key.fd].recv(4096)
                    heard[key.fd] += some
                    # To its last byte: what is left of this answer would be taken for the next one.
                    if not some or heard[key.fd].endswith(BODY):
                        waiting.unregister(key.fileobj)
            answered += sum(
                text.startswith(b"HTTP/1.1 200") and text.endswith(BODY) for text in heard.values()
            )
    return answered
