"""What has happened, written down once: a line of the log, a record of the history, and the counts.

All three are made here from the same fact, so they cannot disagree.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable

from reuseport.history import History, Kind, Level
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.telling.expiry import Expiry
from reuseport.launcher.telling.totals import Totals
from reuseport.scoreboard import Desk

EVERY = 1.0
"""Seconds between looks at how many connections were passed on."""
QUIET = 10.0
"""Seconds for which a slot that is fostered again and again, each time for milliseconds, is not news."""

log = logging.getLogger("reuseport")
_LEVELS = logging.getLevelNamesMapping()


class Chronicle:
    """The launcher's memory. `clock` tells seconds since the epoch, to be shown; order and waits go by
    `monotonic`, which nobody sets back.
    """

    def __init__(
        self,
        totals: Totals,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history = History()
        self.started_at = clock()
        self.begun = monotonic()
        self.totals = totals
        self.last_losses: dict[int, str] = {}
        """How a worker that should have gone on was last lost, by slot."""
        self._clock = clock
        self._monotonic = monotonic
        self._next = 0.0
        self._expiry = Expiry()
        self._passed: dict[tuple[int, Desk], int] = {}
        self._fostered: dict[int, float] = {}
        self._stole: dict[int, float] = {}
        """By slot, when it was last told that it accepted for others."""
        self._doubted: dict[int, tuple[int, float]] = {}
        """By slot, how many figures were not believed when that was last told, and when."""

    def note(
        self,
        kind: Kind,
        text: str,
        *,
        level: Level = "info",
        slot: int | None = None,
        generation: int | None = None,
        cause: str | None = None,
    ) -> None:
        """One line of the log, and the same as a record."""
        log.log(_LEVELS[level.upper()], text)
        self.history.add(
            self._clock(), kind, text, level=level, slot=slot, generation=generation, cause=cause
        )

    def report(self, report: ev.Report) -> None:
        """What the supervisor says."""
        match report.kind:
            case Kind.RELOAD_DONE:
                self.totals.reloads["done"] += 1
            case Kind.VIOLATION:
                self.totals.violations += 1
                if report.slot is not None:
                    self.last_losses[report.slot] = report.text
            case Kind.RELOAD_ABORTED:
                self.totals.reloads["aborted"] += 1
            case Kind.CRASHED | Kind.KILLED if report.slot is not None:
                self.last_losses[report.slot] = report.text
        self.note(
            report.kind,
            report.text,
            level=report.level,
            slot=report.slot,
            generation=report.generation,
            cause=report.cause,
        )

    def spawned(self, spawn: ev.Spawn) -> None:
        """A worker is on its way."""
        self.totals.spawns[spawn.reason.value] += 1
        self.totals.spawned[spawn.slot] += 1
        if spawn.reason in (Reason.CRASH, Reason.HANG, Reason.VIOLATION):
            self.totals.restarts[spawn.slot] += 1
        text = f"worker in slot {spawn.slot} starts (generation {spawn.generation})"
        self.note(
            Kind.STARTING,
            text,
            level="debug",
            slot=spawn.slot,
            generation=spawn.generation,
            cause=spawn.reason.value,
        )

    def gone(self, status: int | None) -> None:
        """A worker's process is; the supervisor reports it. None: nobody has told us how."""
        if status is None:
            self.totals.exits["unknown"] += 1
        else:
            self.totals.exits[str(status) if status >= 0 else signal_name(-status)] += 1

    def fostered(self, slot: int, by: int, cause: str) -> None:
        """A sibling accepts for the slot; a blocked loop may make that happen all the time."""
        self.totals.fosters[cause] += 1
        level: Level = "info"
        if cause == "stall":
            level, now = "debug", self._monotonic()
            if now - self._fostered.get(slot, float("-inf")) < QUIET:
                log.debug("slot %d is fostered by slot %d", slot, by)
                return
            self._fostered[slot] = now
        self.note(Kind.FOSTERED, f"slot {slot} is fostered by slot {by}", level=level, slot=slot, cause=cause)

    def look(self, slots: Iterable[int], now: float) -> None:
        """Tell of connections that workers have passed to each other since the last look, of figures that
        cannot be true, and of certificates.
        """
        if now < self._next:
            return
        self._next = now + EVERY
        for slot in slots:
            handed = self._growth(slot, Desk.HANDOFFS_SENT)
            moved = self._growth(slot, Desk.REBALANCED)
            if moved:
                text = f"slot {slot} passed {_connections(moved)} on to workers with less to do"
                self.note(Kind.REBALANCED, text, level="debug", slot=slot, cause="rebalance")
            if handed > moved:
                text = f"slot {slot} handed {_connections(handed - moved)} over, live"
                self.note(Kind.HANDOFFS, text, slot=slot)
            self._tell_stolen(slot, now)
            self._doubt(slot, now)
        for level, text in self._expiry.look(self.totals.first_expiry(), self._clock()):
            self.note(Kind.CERTIFICATE, text, level=level)

    def _tell_stolen(self, slot: int, now: float) -> None:
        """Now and then, and then of all: handlers that block do so all the time."""
        if now - self._stole.get(slot, float("-inf")) < QUIET:
            return
        stolen = self._growth(slot, Desk.STOLEN)
        if stolen:
            self._stole[slot] = now
            text = f"slot {slot} accepted {_connections(stolen)} of blocked siblings"
            self.note(Kind.STOLEN, text, level="debug", slot=slot, cause="stall")

    def _doubt(self, slot: int, now: float) -> None:
        doubts = self.totals.readings.doubts[slot]
        told, at = self._doubted.get(slot, (0, float("-inf")))
        if doubts > told and now - at >= QUIET:
            self._doubted[slot] = doubts, now
            text = (
                f"figures of slot {slot} are not believed, {self.totals.readings.doubted[slot]} the last of"
                f" {doubts - told}: some worker writes into the scoreboard what cannot be true"
            )
            self.note(Kind.IMPLAUSIBLE, text, level="warning", slot=slot)

    def _growth(self, slot: int, counter: Desk) -> int:
        total = self.totals.one(slot, counter)
        before = self._passed.get((slot, counter), 0)
        self._passed[slot, counter] = total
        return total - before


def signal_name(number: int) -> str:
    """As in signal(7); a number that has no name stays one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _connections(number: int) -> str:
    return "1 connection" if number == 1 else f"{number} connections"
