"""The launcher as whoever shows or steers it sees it: implements `instance.Instance`.

What is asked for becomes an event like a signal's; what is refused changes nothing and raises the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from reuseport.history import History
from reuseport.instance import Readiness, RefusedError, Sample, Stacks, Status, UnknownSlotError
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports, requests
from reuseport.launcher.deciding.events import Event, Request
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.process import Process
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.overview import Overview
from reuseport.launcher.telling.stacks import Dumps
from reuseport.launcher.telling.usage import Usage
from reuseport.scoreboard import Scoreboard, SlotWord


class Operator:
    """Borrows everything but the usage, whose thread it ends. In the launcher's event loop only."""

    def __init__(
        self,
        supervisor: Supervisor,
        processes: Mapping[int, Process],
        overview: Overview,
        chronicle: Chronicle,
        usage: Usage,
        scoreboard: Scoreboard,
        feed: Callable[[Event], None],
        loop: GuardedLoop,
    ) -> None:
        self._supervisor = supervisor
        self._processes = processes
        self._overview = overview
        self._chronicle = chronicle
        self._usage = usage
        self._scoreboard = scoreboard
        self._feed = feed
        self._loop = loop
        self._dumps = Dumps()

    @property
    def history(self) -> History:
        """What has happened."""
        return self._chronicle.history

    def status(self) -> Status:
        """Everything now."""
        return self._overview.status(self._loop.time())

    def sample(self) -> Sample:
        """The sums now."""
        return self._overview.sample()

    def readiness(self) -> Readiness:
        """What probes ask for."""
        return {
            "state": self._supervisor.stage(),
            "ready": self._overview.ready(),
            "workers": self._supervisor.target,
            "ever_ready": self._supervisor.ever_ready,
        }

    async def look(self) -> None:
        """Read memory and descriptors of all workers, and have them measure what only they can."""
        now = time.monotonic_ns()
        for slot in self._supervisor.slots:
            self._scoreboard.slot(slot)[SlotWord.WATCHED] = now
        await self._usage.look([process.pid for process in self._processes.values()])

    # ── requests ──────────────────────────────────────────────────────────────────────────────────────

    def reload(self) -> int:
        """The generation that the reload will bring. Raises RefusedError."""
        generation = self._supervisor.promised()
        self._ask(ev.ReloadRequested())
        return generation

    def scale(self, workers: int) -> None:
        """Raises RefusedError."""
        self._ask(ev.ScaleTo(workers))

    def drain(self, slot: int) -> None:
        """Raises RefusedError, UnknownSlotError."""
        self._know(slot)
        self._ask(ev.DrainRequested(slot))

    def restart(self, slot: int) -> None:
        """Raises RefusedError, UnknownSlotError."""
        self._know(slot)
        self._ask(ev.RestartRequested(slot))

    def stop(self) -> None:
        """Raises RefusedError."""
        if self._supervisor.stage() == "stopping":
            raise RefusedError("stopping already; a second SIGTERM to the launcher stops at once")
        self._loop.call_soon(self._stop)

    def _stop(self) -> None:
        # Several may ask in one turn of the loop, a signal among them; the second event would stop at once.
        if self._supervisor.stage() != "stopping":
            self._feed(ev.StopRequested())

    async def stacks(self, slot: int) -> Stacks:
        """Raises UnknownSlotError, RefusedError."""
        self._know(slot)
        worker = self._supervisor.slots[slot].serving() or self._supervisor.slots[slot].starting()
        process = None if worker is None else self._processes.get(worker.number)
        if process is None:
            raise RefusedError(f"slot {slot} has no worker now")
        text = await self._dumps.take(process)
        if not text:
            raise RefusedError(f"pid {process.pid} in slot {slot} does not answer: it is stopped, or ends")
        return {"slot": slot, "pid": process.pid, "stacks": text}

    def close(self) -> None:
        """End the thread that reads /proc."""
        self._usage.close()

    def _ask(self, request: Request) -> None:
        why = self._supervisor.objection(request)
        if why is not None:
            # Not by the supervisor in its turn: what comes in between could have it carried out after all.
            self._chronicle.report(reports.refused(requests.name(request), why))
            raise RefusedError(why)
        # In a callback of its own, as with a signal: a defect that shows there must end the launcher, and not
        # become some visitor's 500. What comes in between may still have it refused; the history tells.
        self._loop.call_soon(self._feed, request)

    def _know(self, slot: int) -> None:
        if not 0 <= slot < self._supervisor.target or slot not in self._supervisor.slots:
            last = self._supervisor.target - 1
            raise UnknownSlotError(f"there is no slot {slot}: they are 0 to {last}")
