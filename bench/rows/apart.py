"""What a request costs the server where nobody takes its CPU: one worker on one CPU, the load on another.

CPU time a request, from the kernel's account of the server's processes, for seven kinds of request; of the
first, `raw`, also the user time and how many system calls it takes: those that wake the client are dear in a
virtual machine, so a server looks worse the more often the client sleeps.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.kit.comparison import Measure, Trial
from bench.kit.contest import Running
from bench.kit.measure import wrk
from bench.kit.quiet import accounted
from bench.kit.results import Figures
from bench.rows.figures import account
from bench.rows.throughput import connecting
from bench.served.lineup import started
from bench.share import BROWSER, JSON

RAW, STARLETTE = "bench.served.small:raw", "bench.served.small:starlette"
NO_LOG = frozenset({"granian", "peregrine"})
"""Contestants that write no access log into a file of its own."""
WARM = 32
"""Connections that ask for a second before anything counts."""
NONE = float("nan")
"""A figure that this contestant or this machine does not have."""
HEADERS = [part for line in BROWSER.decode().split("\r\n") if line for part in ("-H", line)]


def apart(connections: int, *, seconds: float) -> Measure:
    """`raw`, `user`, `calls`; `browser`: with ten headers; `post`: JSON of a KiB; `large`: 64 KiB;
    `starlette`: through a framework; `new`: each on a connection of its own; `logged`: with an access log.

    Raises RuntimeError for any error, or a machine with one CPU.
    """

    def measure(trial: Trial) -> Figures:
        lasts = trial.pace.seconds(seconds)

        def loaded(one: Running, path: str = "/", more: Sequence[str] = ()) -> Figures:
            return _loaded(one, path, connections, lasts, more)

        figures: dict[str, float] = {"logged": NONE}
        with _alone(trial, RAW) as one, posting() as post:
            (hello, user), calls = _counting_calls(one, lambda: _user(one, lambda: loaded(one)))
            figures.update(hello, raw=hello["cpu"], user=user / hello["requests"])
            figures["calls"] = calls / hello["requests"]
            figures["browser"] = loaded(one, more=HEADERS)["cpu"]
            figures["post"] = loaded(one, "/echo", post)["cpu"]
            figures["large"] = loaded(one, "/large")["cpu"]
            load, cores = accounted(one, lambda: connecting(one, connections, lasts))
            if load.lost:
                raise RuntimeError(f"ab: {load.errors}")
            figures["new"] = cores.spent / load.answered
        with _alone(trial, STARLETTE) as one:
            figures["starlette"] = loaded(one)["cpu"]
        if trial.entry.name not in NO_LOG:
            with tempfile.TemporaryDirectory() as directory:
                log = Path(directory) / "log"
                with _alone(trial, RAW, str(log)) as one:
                    logged = loaded(one)
                if log.read_bytes().count(b"\n") < logged["requests"]:
                    raise RuntimeError("not every request has its line in the access log")
            figures["logged"] = logged["cpu"]
        return figures

    return measure


def _loaded(one: Running, path: str, connections: int, seconds: float, more: Sequence[str]) -> Figures:
    load, cores = accounted(one, lambda: wrk(one.url(path), connections, seconds, more=more))
    if load.errors:
        raise RuntimeError(f"wrk met {load.errors} errors in {load.requests} requests of {path}")
    return account(cores, load.requests)


def _user(one: Running, measure: Callable[[], Figures]) -> tuple[Figures, float]:
    """And the user time that the server has used meanwhile, in seconds: in hundredths, so of all requests."""
    processes = [one.server.process, *one.server.children()]
    before = sum(process.cpu_times().user for process in processes)
    figures = measure()
    return figures, sum(process.cpu_times().user for process in processes) - before


def _counting_calls(
    one: Running, measure: Callable[[], tuple[Figures, float]]
) -> tuple[tuple[Figures, float], float]:
    """And how many system calls the server has made meanwhile; NONE where perf(1) may not count them."""
    perf = shutil.which("perf")
    if perf is None:
        return measure(), NONE
    pids = ",".join(str(process.pid) for process in (one.server.process, *one.server.children()))
    with subprocess.Popen(
        [perf, "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", pids],
        stderr=subprocess.PIPE,
        text=True,
    ) as counting:
        result = measure()
        counting.send_signal(2)
        said = counting.communicate()[1]
    found = re.search(r"^(\d+),,raw_syscalls", said, re.MULTILINE)
    return result, float(found[1]) if found else NONE


@contextmanager
def posting() -> Iterator[list[str]]:
    """What makes wrk post a KiB of JSON."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"wrk.method = 'POST'\nwrk.body = '{JSON.decode()}'\n")
        script.write("wrk.headers['Content-Type'] = 'application/json'\n")
        script.flush()
        yield ["-s", script.name]


@contextmanager
def _alone(trial: Trial, app: str, log: str | None = None) -> Iterator[Running]:
    """One worker, with all threads of the server on one CPU; whom we start meanwhile, on another."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) == 1:
        raise RuntimeError("server and load need a CPU each, and there is one")
    with started(trial.entry, 1, app, access_log=log) as one:
        for process in (one.server.process, *one.server.children()):
            for thread in process.threads():
                os.sched_setaffinity(thread.id, {cpus[0]})
        os.sched_setaffinity(0, {cpus[1]})
        try:
            wrk(one.url(), WARM, 1.0)
            yield one
        finally:
            os.sched_setaffinity(0, cpus)
