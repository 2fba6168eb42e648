"""Closed loops: each connection asks again as soon as it is answered. For throughput, not for latency."""

from __future__ import annotations

import pathlib
import tempfile
import time
from collections.abc import Callable

from bench.kit.comparison import Measure, Trial
from bench.kit.contest import Running
from bench.kit.measure import wrk
from bench.kit.quiet import accounted
from bench.kit.results import Figures
from bench.kit.tools import Outcome, ab
from bench.rows.figures import account, warm
from bench.served.lineup import started
from bench.served.peers import APP

Path = Callable[[Trial], str]


def hello(_: Trial) -> str:
    """The page that costs nothing."""
    return "/"


def waits(milliseconds: int) -> Path:
    """A handler that sleeps on the event loop, which does other things meanwhile."""
    return lambda _: f"/wait/{milliseconds}"


def works(milliseconds: float) -> Path:
    """A handler that keeps its event loop busy."""
    return lambda trial: trial.slow(milliseconds)


def kept(connections: int, path: Path, *, seconds: float, workers: int = 2) -> Measure:
    """wrk on kept connections. Raises RuntimeError for any error."""

    def measure(trial: Trial) -> Figures:
        page, lasts = path(trial), trial.pace.seconds(seconds)
        with started(trial.entry, workers, APP) as one:
            if path is hello:
                warm(one)
            return _loaded(one, page, connections, lasts)

    return measure


def logged(connections: int, *, seconds: float) -> Measure:
    """The same for hello, each request a line in an access log. Raises RuntimeError for any error or a line
    that is missing."""

    def measure(trial: Trial) -> Figures:
        with tempfile.TemporaryDirectory() as directory:
            log = pathlib.Path(directory) / "log"
            with started(trial.entry, 2, APP, access_log=str(log)) as one:
                warm(one)
                figures = _loaded(one, "/", connections, trial.pace.seconds(seconds))
            with log.open("rb") as lines:
                written = sum(1 for _ in lines)
        if written < figures["requests"]:
            raise RuntimeError(f"{written} lines in the access log for {figures['requests']} requests")
        return figures

    return measure


def _loaded(one: Running, page: str, connections: int, seconds: float) -> Figures:
    load, cores = accounted(one, lambda: wrk(one.url(page), connections, seconds))
    if load.errors:
        raise RuntimeError(f"wrk met {load.errors} errors in {load.requests} requests")
    figures = {"rate": load.rate, "p50": load.latency, "p99": load.p99}
    return {**figures, **account(cores, load.requests)}


def new(connections: int, *, seconds: float) -> Measure:
    """ab, a connection for each request. Raises RuntimeError for any error."""

    def measure(trial: Trial) -> Figures:
        with started(trial.entry, 2, APP) as one:
            warm(one)
            load, cores = accounted(one, lambda: connecting(one, connections, trial.pace.seconds(seconds)))
        if load.lost:
            raise RuntimeError(f"ab: {load.errors}")
        return {"rate": load.rate, "p50": load.p50, "p99": load.p99, **account(cores, load.answered)}

    return measure


def connecting(one: Running, connections: int, seconds: float) -> Outcome:
    """What ab saw in so many seconds."""
    with ab(one.url(), connections) as load:
        time.sleep(seconds)
    return load
