"""How many additions take a millisecond: `/api/N` is the same work on every server of a runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bench.kit.asking import Clients
from bench.kit.contest import Running
from bench.kit.measure import cpu_seconds
from bench.served.field import NODE_SINGLE, SINGLE
from bench.served.lineup import GIVES_UP, started
from bench.served.peers import APP

SINGLES = {"python": SINGLE, "node": NODE_SINGLE}
BEGIN = {"python": 300_000, "node": 10_000_000}
"""Additions of a first guess."""
WANTED = 0.1
"""Seconds of CPU in which a calibration is trusted."""
REPEATS = 3
PATIENCE = 30.0


@dataclass(slots=True)
class Calibration:
    """By runtime, additions per millisecond, or why they are not known. Found out when first asked for."""

    per_millisecond: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def path(self, runtime: str, milliseconds: float) -> str:
        """The path of a request that costs so much CPU time. Raises RuntimeError."""
        if runtime not in self.per_millisecond and runtime not in self.failures:
            self._calibrate(runtime)
        if runtime in self.failures:
            raise RuntimeError(f"{runtime} is not calibrated: {self.failures[runtime]}")
        n = round(self.per_millisecond[runtime] * milliseconds)
        return f"/api/{round(n, 3 - len(str(n)))}"

    def _calibrate(self, runtime: str) -> None:
        try:
            with started(SINGLES[runtime], 1, APP) as one:
                self.per_millisecond[runtime] = _additions(one, BEGIN[runtime])
        except GIVES_UP as error:
            self.failures[runtime] = f"{type(error).__name__}: {str(error)[-300:]}"


def _additions(one: Running, guess: int) -> float:
    """Per millisecond of CPU. The first request, which is not compiled yet, corrects the guess."""
    n = guess
    used = _cost(one, n)
    for _ in range(REPEATS):
        n = max(1, round(n * WANTED / used))
        used = _cost(one, n)
    return n / used / 1e3


def _cost(one: Running, n: int) -> float:
    """CPU seconds of the server for one request. Raises RuntimeError when it is not answered."""
    processes = [one.server.process, *one.server.children()]
    with Clients(one.port) as clients:
        before = cpu_seconds(processes)
        clients.connect(f"/api/{n}", time.monotonic())
        if not clients.answers(PATIENCE):
            raise RuntimeError(f"/api/{n} was not answered: {dict(clients.failures)}")
        return cpu_seconds(processes) - before
