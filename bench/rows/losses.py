"""What clients lose when workers are replaced: as planned, or killed. Load at saturation, of both kinds."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.kit.comparison import Trial
from bench.kit.contest import Running, counter, until
from bench.kit.results import Figures
from bench.kit.tools import Outcome, ab, wrk
from bench.served.lineup import started
from bench.served.peers import APP

KEPT, NEW = 32, 16
"""Connections."""
RELOADS, KILLS = 1, 1
"""For each kind of load, in each round."""
BEFORE = AFTER = 0.5
"""Seconds of load on either side."""
PATIENCE = 15.0
"""Seconds for a replacement; a server that has none by then has given up."""


def reload(trial: Trial) -> Figures:
    """A rolling reload under each kind of load."""
    with started(trial.entry, 2, APP) as one:
        kept, lasted, reopened = _during(wrk(one.url(), KEPT), lambda: _reloads(one))
        new, _, _ = _during(ab(one.url(), NEW), lambda: _reloads(one))
    return {
        "kept_lost": kept.lost,
        "kept_closed": reopened,
        "new_lost": new.lost,
        "answered": kept.answered + new.answered,
        "lasted": lasted / RELOADS,
    }


def _reloads(one: Running) -> None:
    for _ in range(RELOADS):
        one.reload()


def _during(load: AbstractContextManager[Outcome], act: Callable[[], None]) -> tuple[Outcome, float, int]:
    """What the load saw, how long the act took, and how many connections were opened meanwhile."""
    with load as outcome:
        time.sleep(BEFORE)
        opened, begun = counter("PassiveOpens"), time.monotonic()
        act()
        lasted = time.monotonic() - begun
        time.sleep(AFTER)
        reopened = counter("PassiveOpens") - opened
    return outcome, lasted, reopened


def crash(trial: Trial) -> Figures:
    """A worker killed under each kind of load.

    What a killed worker had accepted dies with it, whoever serves; what is lost beyond that was not its own.
    """
    accepted: list[int] = []
    back: list[float] = []

    def kills() -> None:
        for _ in range(KILLS):
            holds, seconds = kill(one)
            accepted.append(holds)
            back.append(seconds)

    with started(trial.entry, 2, APP) as one:
        kept, _, _ = _during(wrk(one.url(), KEPT), kills)
    with started(trial.entry, 2, APP) as one:
        new, _, _ = _during(ab(one.url(), NEW), kills)
    return {
        "kept_lost": kept.lost,
        "new_lost": new.lost,
        "accepted": sum(accepted),
        "beyond": max(0, kept.lost - sum(accepted[:KILLS])) + max(0, new.lost - sum(accepted[KILLS:])),
        "back": max(back),
        "answered": kept.answered + new.answered,
    }


def kill(one: Running) -> tuple[int, float]:
    """SIGKILL the oldest worker: how many connections it held, and seconds until as many are up again."""
    victim = one.workers()[0]
    accepted = one.held(victim)
    begun = time.monotonic()
    one.kill(victim)
    until(lambda: len(one.workers()) == one.setup.workers, "the replacement", PATIENCE)
    return accepted, time.monotonic() - begun
