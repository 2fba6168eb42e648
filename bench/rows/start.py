"""From the command to the last of four workers that serves, and what they all hold in memory then."""

from __future__ import annotations

import time
from http import HTTPStatus
from http.client import HTTPConnection

from bench.footprint import proportional_mib
from bench.kit.comparison import Trial
from bench.kit.contest import Running, launched, until
from bench.kit.measure import HOST, free_port
from bench.kit.results import Figures
from bench.served.lineup import migrating
from bench.served.peers import Setup

APP = "bench.served.framework:app"
WORKERS = 4
PATIENCE = 30.0
STEP = 0.002


def start(trial: Trial) -> Figures:
    """One start. The application is Starlette's hello; Express's on Node."""
    workers = trial.entry.workers or WORKERS
    setup = Setup(free_port(), workers, APP)
    begun = time.monotonic()
    with migrating(trial.entry), launched(trial.entry.contestant, setup, trial.entry.wrapper) as one:
        until(lambda: len(one.workers()) == workers, f"{workers} workers", PATIENCE, STEP)
        until(lambda: answers(one), "an answer", PATIENCE, STEP)
        up = time.monotonic() - begun
        memory = sum(proportional_mib(process) for process in (one.server.process, *one.server.children()))
    return {"start": up, "memory": memory}


def answers(one: Running) -> bool:
    """Whether the port serves already."""
    asking = HTTPConnection(HOST, one.port, timeout=PATIENCE)
    try:
        asking.request("GET", "/")
        return asking.getresponse().status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        asking.close()
