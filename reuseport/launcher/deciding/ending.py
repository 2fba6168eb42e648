"""The end of the server, from the moment it is decided. No I/O here.

Who serves drains after the delay; who starts and has no clients ends at once; nothing starts any more. The
exit code is 0 only if nothing was cut short: no worker had to be killed, none died of something else.
"""

from __future__ import annotations

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.phases import SERVING, Phase
from reuseport.launcher.deciding.roster import Roster

ONE_WISH = 1.0
"""Seconds within which signals to stop are one: timeout(1) and service managers send theirs to the process
and to its group."""
CUT_SHORT = 1
"""The exit code when requests died, or an application's shutdown."""


class Ending:
    """Not decided yet, under way, or over."""

    def __init__(self, roster: Roster) -> None:
        self.drain_at: float | None = None
        """When who still serves is told to drain; None before the end is decided, and after that."""
        self.cut_short = False
        self._roster = roster
        self._code: int | None = None
        self._asked_at = 0.0
        self._killed_before = 0
        self._over = False

    @property
    def decided(self) -> bool:
        """The server stops; nothing else can be asked of it."""
        return self._code is not None

    def shutdown_limit(self) -> float:
        """Seconds for lifespan shutdown, 0 = any number: in a stop nobody waits for the slot."""
        policy = self._roster.policy
        if policy.shutdown_timeout is not None:
            return policy.shutdown_timeout
        return 0.0 if self.decided else policy.held_up

    def begin(self, code: int, delay: float, now: float) -> None:
        """Decide it; who serves drains after `delay` seconds."""
        self._code = code
        self._asked_at = now
        self._killed_before = self._roster.killed
        self.drain_at = now + delay
        for worker in self._roster.workers.values():
            if worker.phase is Phase.STARTING and worker.listens:
                # Clients are in its queue: it is ready in a moment, and drains.
                worker.deadline = now + self._roster.policy.kill_grace
            elif worker.phase is Phase.STARTING:
                self._roster.terminate(worker, now)
            elif worker.shuts_down and worker.phase is Phase.DRAINING:
                self._roster.let_shut_down(worker, self.shutdown_limit(), now)
        self._roster.report(reports.stops(delay))

    def insists(self, now: float) -> bool:
        """Whether a further wish to stop is one of its own, and not the first one's echo."""
        return now - self._asked_at >= ONE_WISH

    def fail(self) -> None:
        """Something else went wrong meanwhile: the exit code says so."""
        self._code = self._code or CUT_SHORT

    def hurry(self, now: float) -> None:
        """Wait for nobody."""
        self._roster.report(reports.quits())
        self.drain_at = None
        for worker in self._roster.workers.values():
            self._roster.kill(worker, now)

    def advance(self, now: float) -> None:
        """Have everybody drain when the delay is over; leave when everybody is gone."""
        if self.drain_at is not None and now >= self.drain_at:
            self.drain_at = None
            # First, so that a worker that has taken its whole queue closes the last copy of its listeners.
            self._roster.actions.append(ev.Release())
            for worker in self._roster.workers.values():
                if worker.phase is Phase.DRAINING:
                    self._roster.disinherit(worker)
                elif worker.phase in SERVING:
                    self._roster.drain(worker, (), now)
        if not self._roster.workers and not self._over:
            self._over = True
            self.drain_at = None
            self._roster.actions.append(ev.Exit(self._exit_code()))

    def _exit_code(self) -> int:
        cut_short = self.cut_short or self._roster.killed > self._killed_before
        return self._code or (CUT_SHORT if cut_short else 0)
