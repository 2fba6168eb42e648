"""What every measurement shares: a server process, its CPU time, a load from wrk, rounds and medians.

Absolute figures of a shared machine differ by a factor of two between runs. So variants are measured in
interleaved rounds, compared within a round, and reported as a median with its range; CPU time is the
kernel's account of the server's own processes.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median
from typing import TypeVar

import psutil

PATIENCE = 180.0
"""Seconds to wait for a server to say something before the measurement is given up."""

HOST = "127.0.0.1"

T = TypeVar("T")

# ── servers ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Line:
    """Something a server printed; `at` is when it arrived, in seconds of `time.monotonic`."""

    at: float
    text: str


class Server:
    """A server under measurement, in a session of its own. All its processes end with `served`."""

    def __init__(self, command: Sequence[str], port: int) -> None:
        self.command = tuple(command)
        self.url = f"http://{HOST}:{port}"
        self._lines: list[Line] = []
        self._news = threading.Condition()
        self._popen = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.process = psutil.Process(self._popen.pid)
        # A thread, so that a line has the time of its arrival and not that of our asking for it.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def children(self) -> list[psutil.Process]:
        """The processes below the one that was started; of reuseport, its workers and its mold."""
        return self.process.children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Of reuseport."""
        return [child for child in self.children() if "--slot" in child.cmdline()]

    def line(self, pattern: str, since: float = 0.0) -> Line:
        """The first line that matches and came after `since`, waited for. Raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                for line in self._lines:
                    if line.at > since and re.search(pattern, line.text):
                        return line
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    said = "\n".join(line.text for line in self._lines)
                    raise TimeoutError(f"{' '.join(self.command)} did not say {pattern!r}, but:\n{said}")
                self._news.wait(min(left, 1.0))

    def end(self) -> None:
        """Kill the whole session: a measurement owes its server no farewell, and may have left it busy."""
        os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._reader.join()
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def _read(self) -> None:
        for text in self._popen.stdout or ():
            with self._news:
                self._lines.append(Line(time.monotonic(), text.rstrip("\n")))
                self._news.notify_all()


@contextmanager
def session(command: Sequence[str], port: int) -> Iterator[Server]:
    """Run a server from the moment its process is started."""
    server = Server(command, port)
    try:
        yield server
    finally:
        server.end()


@contextmanager
def served(command: Sequence[str], port: int, ready: str) -> Iterator[Server]:
    """Run a server from the moment it prints `ready`, a regular expression. Raises TimeoutError."""
    with session(command, port) as server:
        server.line(ready)
        yield server


@contextmanager
def reuseport(workers: int, *flags: str) -> Iterator[Server]:
    """`python -m reuseport` with all its workers ready, serving the demo unless `flags` name another APP."""
    port = free_port()
    command = (sys.executable, "-m", "reuseport", *flags, "--workers", str(workers), "--port", str(port))
    with served(command, port, rf"all {workers} workers are ready") as server:
        yield server


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody used a moment ago."""
    with closing(socket.socket()) as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


# ── CPU time ──────────────────────────────────────────────────────────────────────────────────────────


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """CPU time the living `processes` have used so far, user and system, all threads.

    Asked of the process's own clock, which counts nanoseconds; /proc/PID/stat, and psutil with it, counts
    hundredths of a second, too coarse for an idle launcher. The clock's number is what glibc's
    clock_getcpuclockid(3) makes of a pid (kernel: CPUCLOCK_SCHED in include/linux/posix-timers_types.h).
    """
    return sum(time.clock_gettime((~process.pid << 3) | 2) for process in processes)


def machine_seconds() -> float:
    """CPU time the whole machine has spent on anything, stolen time included, since it booted."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


# ── load ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: counts, seconds, and its own CPU seconds.

    `latency` is the median, `p99` what 99 in 100 do not exceed, in seconds.
    """

    requests: int
    errors: int
    seconds: float
    latency: float
    p99: float
    cpu: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def wrk(url: str, connections: int, seconds: float, threads: int = 1, more: Sequence[str] = ()) -> Load:
    """Closed-loop keep-alive load: each connection asks again as soon as it is answered. `more` of wrk's
    own options.

    Raises SystemExit when wrk is not installed, CalledProcessError when it cannot connect.
    """
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not installed: apt-get install wrk")
    shape = ["-t", str(threads), "-c", str(connections), "-d", f"{max(1, round(seconds))}s"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A hundred connections of a CPU-bound application wait longer than wrk's patience of 2 s.
    done = subprocess.run(
        [program, *shape, *more, "--timeout", "60s", "--latency", url],
        check=True,
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return parse_wrk(done.stdout, cpu)


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parse_wrk(report: str, cpu: float) -> Load:
    """wrk's report as data. Raises ValueError for text that is none."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m),", report)
    middle, slow = (re.search(rf"{share}%\s+([\d.]+)(us|ms|s|m)\b", report) for share in (50, 99))
    if total is None or middle is None or slow is None:
        raise ValueError(f"not a report of wrk --latency: {report!r}")
    socket_errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    errors = sum(map(int, socket_errors.groups())) if socket_errors else 0
    return Load(
        requests=int(total[1]),
        errors=errors + (int(refused[1]) if refused else 0),
        seconds=float(total[2]) * _UNITS[total[3]],
        latency=float(middle[1]) * _UNITS[middle[2]],
        p99=float(slow[1]) * _UNITS[slow[2]],
        cpu=cpu,
    )


# ── rounds and figures ────────────────────────────────────────────────────────────────────────────────


def interleaved(variants: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Round number and variant, every variant once a round; A B, then B A, so that no place is favoured."""
    for number in range(rounds):
        for variant in variants if number % 2 == 0 else reversed(variants):
            yield number, variant


def spread(figures: Sequence[float], form: str = ".3f") -> str:
    """`median (lowest to highest)`."""
    return f"{median(figures):{form}} ({min(figures):{form}} to {max(figures):{form}})"


def announce(arguments: argparse.Namespace) -> None:
    """Say what is measured on what, and the command that does it again."""
    name = f"bench.{os.path.basename(sys.argv[0]).removesuffix('.py')}"  # noqa: PTH119 - python -m's name
    flags = " ".join(f"--{flag.replace('_', '-')} {value}" for flag, value in vars(arguments).items())
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("reuseport", "uvicorn", "uvloop", "httptools")
    )
    print(f"# python -m {name} {flags}")
    print(f"# Linux {platform.release()}, {len(os.sched_getaffinity(0))} CPUs, load {os.getloadavg()[0]:.1f}")
    print(f"# Python {platform.python_version()}, {versions}", flush=True)
