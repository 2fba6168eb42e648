"""Rows about where connections land: all at once, a few, and after a thousand that never became any."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.kit.asking import Clients, at_once, by_worker
from bench.kit.contest import Running, until
from bench.kit.measure import HOST, spread
from bench.kit.row import Size
from bench.served.lineup import LEVEL_2, ROUND_ROBIN, Entry, Finding, tried

WORKERS = 8
BURST = 400
BURSTS = 3
FEW = 64
RUNS = 20
OPEN = "/wait/1000"
"""Long enough that all connections of a burst are open before the first is answered."""
OPEN_SHORTLY = "/wait/250"
BETWEEN = 0.05
"""Seconds from one run to the next: the workers have seen the clients of the last one leave."""

UNFINISHED = 1000
FLOODS = 3
BLOCKED_FOR = 500
"""Milliseconds that one worker is blocked while the handshakes begin."""
BLOCKED_SINCE = 0.1
"""Seconds after which a blocked worker is known as such, whoever is to know."""
HEAL_WITHIN = 1.0
WATCHED = 2.5
"""Seconds of normal traffic after the handshakes."""

_SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
_SYN_RECV = "03"  # include/net/tcp_states.h, as /proc/net/tcp prints it

_EXACT = {LEVEL_2.name, ROUND_ROBIN.name}
"""Who promises that no worker has more than its share."""


def burst(entries: Sequence[Entry], size: Size) -> Iterator[Finding]:
    """400 connections at once on 8 workers."""
    count = size.of(BURST)

    def measure(one: Running, _: int) -> list[int]:
        return landed(one, OPEN, count)

    trials = tried(entries, BURSTS, WORKERS, measure)
    share = [count // WORKERS] * WORKERS
    for name, runs in trials.results.items():
        yield Finding(
            name,
            f"{count} at once, by worker: {'; '.join(' '.join(map(str, counts)) for counts in runs)}",
            f"busiest {max(counts[0] for counts in runs)}, fair {share[0]}",
            all(counts == share for counts in runs) if name in _EXACT else None,
        )
    yield from trials.failures()


def even(entries: Sequence[Entry], size: Size) -> Iterator[Finding]:
    """64 connections on 8 workers, twenty times."""

    def measure(one: Running, _: int) -> list[int]:
        busiest = []
        for _ in range(size.of(RUNS)):
            busiest.append(landed(one, OPEN_SHORTLY, FEW)[0])
            time.sleep(BETWEEN)
        return busiest

    trials = tried(entries, 1, WORKERS, measure)
    for name, [busiest] in trials.results.items():
        yield Finding(
            name,
            f"{FEW} connections, busiest worker in each run: {' '.join(map(str, busiest))}",
            f"busiest {spread(busiest, 'g')}, fair {FEW // WORKERS}",
            max(busiest) == FEW // WORKERS if name in _EXACT else None,
        )
    yield from trials.failures()


def landed(one: Running, path: str, count: int) -> list[int]:
    """How many of so many connections each worker answers, most first. Raises RuntimeError if not all are."""
    with Clients(one.port) as clients:
        counts = by_worker(answer for _, answer in at_once(clients, path, count))
        if clients.failures:
            raise RuntimeError(f"not all were answered: {dict(clients.failures)}")
    return counts + [0] * (one.setup.workers - len(counts))


# ── handshakes that never finish ──────────────────────────────────────────────────────────────────────


def handshakes(entries: Sequence[Entry], size: Size) -> Iterator[Finding]:
    """1,000 handshakes that never finish, then normal traffic.

    One worker is blocked as they begin, so that its share goes to the others: were they counted for good, the
    next hundred connections would all be sent to that one.
    """

    def measure(one: Running, _: int) -> tuple[int, list[tuple[float, int]]]:
        with ExitStack() as stack, Clients(one.port) as clients:
            landed(one, OPEN_SHORTLY, FEW)
            clients.connect(f"/work/{BLOCKED_FOR}", time.monotonic())
            until(lambda: any(one.executing(pid) for pid in one.workers()), "a blocked worker")
            time.sleep(BLOCKED_SINCE)
            for _ in range(size.of(UNFINISHED)):
                stack.enter_context(half_open(one.port))
            standing = half_opened(one.port)
            clients.answers()
            begun = time.monotonic()
            seen = []
            while (since := time.monotonic() - begun) < WATCHED:
                seen.append((since, landed(one, "/wait/50", FEW)[0]))
                time.sleep(BETWEEN)
        return standing, seen

    trials = tried(entries, FLOODS, WORKERS, measure)
    fair = FEW // WORKERS
    for name, rounds in trials.results.items():
        healed = [exact_from(seen, fair) for _, seen in rounds]
        busiest = "; ".join(" ".join(str(most) for _, most in seen) for _, seen in rounds)
        met = all(since is not None and since <= HEAL_WITHIN for since in healed)
        met = met and min(standing for standing, _ in rounds) >= size.of(UNFINISHED)
        yield Finding(
            name,
            f"{', '.join(str(standing) for standing, _ in rounds)} half-open; then {FEW} connections "
            f"again and again for {WATCHED:g} s, busiest worker: {busiest}",
            f"exact from {', '.join('never' if since is None else f'{since:.2f} s' for since in healed)} on",
            met if name in _EXACT else None,
        )
    yield from trials.failures()


def exact_from(seen: Sequence[tuple[float, int]], fair: int) -> float | None:
    """The first moment from which on the busiest worker had its fair share; None: not even at the end."""
    healed = None
    for since, busiest in reversed(seen):
        if busiest != fair:
            break
        healed = since
    return healed


def half_open(port: int) -> socket.socket:
    """A handshake whose last step never comes, and that nobody resets, until the socket is closed.

    A filter that lets nothing through (BPF_RET, 0 bytes) hides the server's answer from this end; the kernel
    drops it before TCP could reset what it does not expect (tcp_v4_rcv: tcp_filter). Both ends try again
    after a second: as a real flood's handshakes they go on costing something, and mean nothing new.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # struct sock_filter: code, jt, jf, k. struct sock_fprog: how many, where.
    program = bytearray(struct.pack("HBBI", 6, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, _address(program)))
    sock.connect_ex((HOST, port))
    return sock


def _address(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def half_opened(port: int) -> int:
    """How many handshakes on the port wait for their last step."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(local.endswith(f":{port:04X}") and state == _SYN_RECV for _, local, _, state, *_ in fields)
