"""What a request costs the server where nobody takes its CPU: one worker on one CPU, the load on another.

For each kind of request CPU time, from the kernel's account of the server's processes, the user time in it,
and system calls: those that wake the client are dear in a virtual machine, so a server looks worse the more
often the client sleeps.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.kit.comparison import Measure, Trial
from bench.kit.contest import Running
from bench.kit.measure import wrk
from bench.kit.quiet import accounted
from bench.kit.results import Figures
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


KINDS: Mapping[str, str] = {
    "raw": "raw ASGI hello",
    "starlette": "Starlette hello",
    "browser": "ten headers, Starlette",
    "post": "JSON of 1 KiB, Starlette",
    "large": "64 KiB back, Starlette",
    "logged": "raw, logged",
    "new": "raw, a connection each",
}
"""By name: what is asked. CPU a request has the name itself, `NAME_user` and `NAME_calls` are beside it."""


def apart(connections: int, *, seconds: float) -> Measure:
    """Figures of all KINDS. Raises RuntimeError for any error, or a machine with one CPU."""

    def measure(trial: Trial) -> Figures:
        lasts = trial.pace.seconds(seconds)
        figures: dict[str, float] = {"logged": NONE, "logged_user": NONE, "logged_calls": NONE}
        figures["other_cores"] = 0.0

        def spent(one: Running, name: str, load: Callable[[], int]) -> int:
            found, requests, others = _spent(one, load)
            figures.update({name + kind: figure for kind, figure in found.items()})
            figures["other_cores"] = max(others, figures["other_cores"])
            return requests

        def kept(one: Running, name: str, path: str = "/", more: Sequence[str] = ()) -> int:
            return spent(one, name, lambda: _wrk(one, path, connections, lasts, more))

        with _alone(trial, RAW) as one:
            kept(one, "raw")
            spent(one, "new", lambda: _ab(one, connections, lasts))
        with _alone(trial, STARLETTE) as one, posting() as post:
            kept(one, "starlette")
            kept(one, "browser", more=HEADERS)
            kept(one, "post", "/echo", post)
            kept(one, "large", "/large")
        if trial.entry.name not in NO_LOG:
            with tempfile.TemporaryDirectory() as directory:
                log = Path(directory) / "log"
                with _alone(trial, RAW, str(log)) as one:
                    requests = kept(one, "logged")
                if log.read_bytes().count(b"\n") < requests:
                    raise RuntimeError("not every request has its line in the access log")
        return figures

    return measure


def interpreter() -> str:
    """Which Python this is. One built without its optimizations takes longer for all that is Python's."""
    given = str(sysconfig.get_config_var("CONFIG_ARGS"))
    built = "" if "--enable-optimizations" in given else " (built without optimizations)"
    return f"{platform.python_implementation()} {platform.python_version()}{built}"


def _wrk(one: Running, path: str, connections: int, seconds: float, more: Sequence[str]) -> int:
    load = wrk(one.url(path), connections, seconds, more=more)
    if load.errors:
        raise RuntimeError(f"wrk met {load.errors} errors in {load.requests} requests of {path}")
    return load.requests


def _ab(one: Running, connections: int, seconds: float) -> int:
    load = connecting(one, connections, seconds)
    if load.lost:
        raise RuntimeError(f"ab: {load.errors}")
    return load.answered


def _spent(one: Running, load: Callable[[], int]) -> tuple[Figures, int, float]:
    """What the server has used for each request of a load, their number, and the cores that others used.

    Raises RuntimeError for no request. User time is counted in hundredths of a second.
    """
    processes = [one.server.process, *one.server.children()]
    user = sum(process.cpu_times().user for process in processes)
    (requests, calls), cores = accounted(one, lambda: _counting_calls(one, load))
    user = sum(process.cpu_times().user for process in processes) - user
    if not requests:
        raise RuntimeError("not one request was answered")
    figures = {"": cores.spent, "_user": user, "_calls": calls}
    return {name: figure / requests for name, figure in figures.items()}, requests, cores.others


def _counting_calls(one: Running, load: Callable[[], int]) -> tuple[int, float]:
    """The load, and how many system calls the server has made meanwhile; NONE where perf(1) may not count."""
    perf = shutil.which("perf")
    if perf is None:
        return load(), NONE
    pids = ",".join(str(process.pid) for process in (one.server.process, *one.server.children()))
    with subprocess.Popen(
        [perf, "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", pids],
        stderr=subprocess.PIPE,
        text=True,
    ) as counting:
        result = load()
        counting.send_signal(signal.SIGINT)
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
