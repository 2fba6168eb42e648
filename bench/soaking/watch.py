"""What is looked at: every second how many are lost and how long answers take, at rest what the server holds.

At rest nobody is connected and all workers are those that are wanted, so what is held then and grows, leaks.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.kit.clients import CLOSED, Tally
from bench.kit.measure import HOST, Server

EVERY = 1.0
"""Seconds between two samples."""
GOODBYE = 0.5
"""Seconds in which the launcher has let go of the visitor that asked it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One second under load. Times in seconds since the run began; `lost` and `answered` so far.

    `p50`, `p99` and `slowest` of answers in this second, but for blocking handlers, streams and WebSockets;
    `descriptors` and `pss` (MiB) of launcher, workers and mold.
    """

    at: float
    answered: int
    lost: int
    p50: float
    p99: float
    slowest: float
    processes: int
    descriptors: int
    pss: float


@dataclass(frozen=True, slots=True)
class Rest:
    """What the server holds at rest, after a phase of load: MiB, and descriptors of all workers."""

    at: float
    launcher_descriptors: int
    launcher_holds: dict[str, int]
    """The same by kind."""
    worker_descriptors: int
    processes: int
    launcher_pss: float
    pss: float


@dataclass
class Record:
    """One run."""

    workers: int
    begun: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)
    crashes: list[tuple[float, int]] = field(default_factory=list)
    """When a worker was killed, and how many connections it held."""
    events: list[tuple[float, str]] = field(default_factory=list)
    """When what happened to the server."""

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.begun


def lost(tallies: Mapping[str, Tally]) -> int:
    """Requests without an answer, and kept connections that were closed unannounced."""
    return sum(tally.lost() + tally.ends[CLOSED] for tally in tallies.values())


def status(admin: int) -> dict[str, Any]:
    """As the API tells it."""
    with closing(http.client.HTTPConnection(HOST, admin, timeout=30)) as connection:
        connection.request("GET", "/api/v1/status")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


def pids(server: Server) -> list[int]:
    """Launcher, workers and mold."""
    return [server.process.pid, *(process.pid for process in server.children())]


@contextmanager
def watching(record: Record, server: Server, tallies: Mapping[str, Tally]) -> Iterator[None]:
    """Sample every second, in a thread."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(EVERY):
            record.samples.append(sample(record, server, tallies))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def sample(record: Record, server: Server, tallies: Mapping[str, Tally]) -> Sample:
    """This second."""
    latencies: list[float] = []
    for tally in tallies.values():
        # Taken away: half an hour of them would be what grows.
        taken, tally.latencies = tally.latencies, []
        latencies += [latency for _, latency in taken]
    latencies.sort()
    everybody = pids(server)
    return Sample(
        at=record.now(),
        answered=sum(tally.answered for tally in tallies.values()),
        lost=lost(tallies),
        p50=_quantile(latencies, 0.5),
        p99=_quantile(latencies, 0.99),
        slowest=latencies[-1] if latencies else 0.0,
        processes=len(everybody),
        descriptors=sum(map(_descriptors, everybody)),
        pss=sum(map(_pss, everybody)),
    )


def rest(record: Record, server: Server, admin: int) -> Rest:
    """What is held now; wait for rest first (`at_rest`)."""
    workers = [slot["pid"] for slot in status(admin)["slots"] if slot["pid"] is not None]
    everybody = pids(server)
    time.sleep(GOODBYE)
    holds = Counter(_kinds(server.process.pid))
    return Rest(
        at=record.now(),
        launcher_descriptors=holds.total(),
        launcher_holds=dict(holds),
        worker_descriptors=sum(map(_descriptors, workers)),
        processes=len(everybody),
        launcher_pss=_pss(server.process.pid),
        pss=sum(map(_pss, everybody)),
    )


def at_rest(admin: int, workers: int) -> bool:
    """Whether all who are wanted serve, nobody else is there, and nobody is connected."""
    told = status(admin)
    slots = [slot for slot in told["slots"] if slot["wanted"]]
    others = [slot for slot in told["slots"] if not slot["wanted"] and slot["pid"] is not None]
    return (
        told["ready"] == len(slots) == workers
        and told["reload"] is None
        and not others
        and not any(slot["predecessors"] or slot["successor"] or slot["connections"] for slot in slots)
    )


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - as many as thousands, every second
    except OSError:
        return 0  # it is gone


def _kinds(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(entry.readlink()).partition(":")[0]


def _pss(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (OSError, psutil.Error):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("Pss:")), 0.0)
