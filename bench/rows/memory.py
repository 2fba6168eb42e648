"""What all processes of a server hold in memory, each shared page once, when every worker has answered."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPConnection

from bench.footprint import proportional_mib
from bench.kit.comparison import Trial
from bench.kit.contest import Running, running
from bench.kit.measure import HOST
from bench.kit.results import Figures

PATIENCE = 30.0
ASKED = 50
"""Requests for each worker, each on its own connection: what a first answer imports is in memory then."""


def memory(app: str, workers: int) -> Callable[[Trial], Figures]:
    """Of so many workers that serve this application."""

    def measure(trial: Trial) -> Figures:
        entry = trial.entry
        with running(entry.contestant, workers=workers, app=app, wrapper=entry.wrapper) as one:
            for _ in range(ASKED * workers):
                ask(one)
            everybody = (one.server.process, *one.server.children())
            return {"memory": sum(map(proportional_mib, everybody))}

    return measure


def ask(one: Running) -> None:
    """Raises RuntimeError for any answer but 200."""
    asking = HTTPConnection(HOST, one.port, timeout=PATIENCE)
    try:
        asking.request("GET", "/")
        answer = asking.getresponse()
        if answer.status != HTTPStatus.OK:
            raise RuntimeError(f"{one.contestant.name} answers {answer.status}")
        answer.read()
    finally:
        asking.close()
