"""wrk, ab, h2load and curl as background load: run until told to stop, then report.

Debian packages: wrk, apache2-utils, nghttp2-client, curl.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.kit.measure import parse_wrk

FOREVER = 3600
"""Seconds: longer than any scenario; each load is ended by a signal."""
MOST_AB = 3_000_000
"""Requests: ab allocates the memory for its statistics, 40 bytes each, before it begins."""
CONNECT_FAILURES = 10
"""After so many connections refused or reset in the making ab gives up, even with -r."""
PACKAGES = {"wrk": "wrk", "ab": "apache2-utils", "h2load": "nghttp2-client", "curl": "curl"}


@dataclass
class Outcome:
    """Filled in when the load ends. `errors` in the tool's own words; `lost` is their sum."""

    answered: int = 0
    lost: int = 0
    errors: str = "no report"
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    """Seconds, where the tool tells."""


def tool(name: str) -> str:
    """Where the program is. Raises SystemExit naming the package to install."""
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: apt-get install {PACKAGES[name]}")
    return found


@contextmanager
def wrk(url: str, connections: int) -> Iterator[Outcome]:
    """Keep-alive load at saturation. Counts connect, read, write and time-out errors, and non-2xx."""
    outcome = Outcome()
    shape = ["-t", "1", "-c", str(connections), "-d", f"{FOREVER}s", "--timeout", "10s", "--latency", url]
    with _background([tool("wrk"), *shape]) as said:
        yield outcome
    load = parse_wrk(said[0], 0.0)
    problems = re.search(r"Socket errors: (.*)", said[0])
    refused = re.search(r"Non-2xx or 3xx responses: \d+", said[0])
    words = [found[0] for found in (problems, refused) if found]
    outcome.answered, outcome.lost, outcome.rate = load.requests, load.errors, load.rate
    outcome.p50, outcome.p99 = load.latency, load.p99
    outcome.errors = "; ".join(words) or "no error"


@contextmanager
def ab(url: str, connections: int) -> Iterator[Outcome]:
    """A new connection for each request, at saturation. Goes on after errors (-r), and counts them.

    All answers have one length, so one that is empty or cut off counts under Length. A reset counts under
    Receive, Length and Exceptions alike (ab.c: read_connection, close_connection, and where poll reports it).
    """
    outcome = Outcome()
    shape = ["-r", "-q", "-s", "30", "-c", str(connections), "-n", str(MOST_AB), url]
    with _background([tool("ab"), *shape]) as said:
        yield outcome
    read_ab(said[0], outcome)


def read_ab(report: str, outcome: Outcome) -> None:
    """ab's report as data."""
    done = re.search(r"Complete requests:\s+(\d+)", report)
    rate = re.search(r"Requests per second:\s+([\d.]+)", report)
    if done is None or rate is None:
        # It ends by itself after ten failures to connect, with one line of report.
        total = re.search(r"Total of (\d+) requests", report)
        outcome.answered, outcome.lost = int(total[1]) if total else 0, CONNECT_FAILURES
        outcome.errors = "ab gave up: " + " ".join(report.split()[-14:])
        return
    kinds = re.search(r"\(Connect: (\d+), Receive: (\d+), Length: (\d+), Exceptions: (\d+)\)", report)
    non2xx = re.search(r"Non-2xx responses:\s+(\d+)", report)
    outcome.answered, outcome.rate = int(done[1]), float(rate[1])
    shares = dict(re.findall(r"^\s+(50|99)%\s+(\d+)", report, re.MULTILINE))
    outcome.p50, outcome.p99 = (int(shares.get(share, 0)) / 1e3 for share in ("50", "99"))
    if kinds is not None:
        connect, receive, length, exceptions = map(int, kinds.groups())
        outcome.lost = connect + max(receive, length, exceptions)
    outcome.lost += int(non2xx[1]) if non2xx else 0
    outcome.errors = "; ".join(found[0] for found in (kinds, non2xx) if found) or "no error"


@contextmanager
def h2load(url: str, connections: int, seconds: float) -> Iterator[Outcome]:
    """Keep-alive load over HTTP/1.1 at saturation, TLS too, for so many seconds: it reports on no signal."""
    outcome = Outcome()
    shape = ["--h1", "-c", str(connections), "-t", "1", "-D", str(round(seconds)), url]
    with _background([tool("h2load"), *shape], None) as said:
        yield outcome
    outcome.errors = said[0][-300:]
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said[0])
    if found is not None:
        outcome.answered = int(found[1])
        outcome.lost = sum(int(found[n]) for n in (2, 3, 4))
        outcome.errors = found[0]


@contextmanager
def curl(url: str) -> Iterator[list[int]]:
    """Two requests a second by one curl, which keeps its connection: how many it opened for each request."""
    opened: list[int] = []
    form = "%{stderr}%{num_connects} %{http_code}\\n"  # stdout would be buffered and lost
    shape = ["-s", "--rate", "2/s", "-o", "/dev/null", "-w", form, f"{url}?[1-{2 * FOREVER}]"]
    with _background([tool("curl"), *shape]) as said:
        yield opened
    for connects, status in re.findall(r"^(\d+) (\d+)$", said[0], re.MULTILINE):
        # An answer that never came has status 000: as bad as a connection of its own.
        opened.append(int(connects) if status == "200" else 99)


@contextmanager
def _background(command: list[str], ended_by: signal.Signals | None = signal.SIGINT) -> Iterator[list[str]]:
    """The list holds, after the end, what the command printed."""
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as popen:
        try:
            yield said
        finally:
            if ended_by is not None:
                popen.send_signal(ended_by)
            said.append(popen.communicate()[0])
