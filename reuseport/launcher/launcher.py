"""The launcher: one event loop that turns facts into events and has carried out what the supervisor decides.

Facts come from the workforce, from signals (siginfo.py) and from the timer; `orders` carries actions out.
Callbacks only, no coroutine ever waits here, so a stop is acted on in the middle of anything.

A callback of ours that fails is a defect, and what it should have done may never be done: it is told, the
workers drain, and the exit code is not 0. If that fails, too, or takes too long, the launcher ends at once,
and the workers read the end of file and drain by themselves. Looks that nobody depends on may fail: they are
told of, and that is all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal

from reuseport.history import Kind
from reuseport.instance import Attach
from reuseport.launcher.affinity import Affinity
from reuseport.launcher.balance import Balance
from reuseport.launcher.beforehand import Beforehand
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.ending import CUT_SHORT
from reuseport.launcher.deciding.events import Event
from reuseport.launcher.deciding.slots import Policy
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.exclusion import Exclusion
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.mold import Mold
from reuseport.launcher.molds import Molds
from reuseport.launcher.operator import Operator
from reuseport.launcher.orders import Orders
from reuseport.launcher.ports import Ports
from reuseport.launcher.siginfo import FROM_TERMINAL, Signals
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.notify import Notifier
from reuseport.launcher.telling.overview import Overview
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.telling.usage import Usage
from reuseport.launcher.watching.memory import MemoryWatch
from reuseport.launcher.watching.neighbours import Neighbours
from reuseport.launcher.watching.readings import Readings
from reuseport.launcher.watching.relief import Relief
from reuseport.launcher.watching.tampering import Tampering
from reuseport.launcher.watching.unevenness import Unevenness
from reuseport.launcher.workforce import Workforce
from reuseport.logs import Relay, give_files_to, reopen
from reuseport.scoreboard import Desk
from reuseport.settings.table import Settings

TICK = 0.25
"""Seconds between looks at the heartbeats: a quarter of the time after which a loop counts as stalled."""
CALM = 1.0
"""The same while all workers rest, and beat as rarely. Who comes is told by the queues, and ends it."""
LATE = 1.0
"""Seconds of lateness from which on the launcher blames itself: it was stopped, or the machine was."""
REOPENING = 2.0
"""Seconds after which workers open their log files again, although we are not done with ours."""

log = logging.getLogger("reuseport")


class Launcher:
    """Wires a supervisor to processes, signals and time. `run` returns the exit code."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        ports: Ports,
        balance: Balance,
        relay: Relay,
        identity: Identity | None = None,
        affinity: Affinity | None = None,
        first: Mold | None = None,
    ) -> None:
        self.settings = settings
        self.identity = identity
        self.ports = ports
        self.balance = balance
        self.relay = relay
        self.scoreboard = balance.scoreboard
        self.memory = MemoryWatch(settings.worker_max_rss)
        self.neighbours = Neighbours(ports, steered=balance.choice.steered)
        self.supervisor = Supervisor(policy, random.Random())
        self.readings = Readings(self.scoreboard)
        self.totals = Totals(self.readings)
        self.chronicle = Chronicle(self.totals)
        self.exit_code: int | None = None
        self._bare_loop = asyncio.new_event_loop()
        """For visitors' tasks and transports."""
        self._loop = GuardedLoop(self._bare_loop, self._on_failure)
        self._molds = Molds(self._loop, settings, identity, first)
        self._workforce = Workforce(self._loop, self._molds, self.totals, self.chronicle, self.feed, identity)
        self.processes = self._workforce.processes
        self.relief = Relief(
            self._loop, self.supervisor, self.processes, self.readings, self.feed, self._stir
        )
        self.tampering = Tampering(
            self._loop, balance, settings.backlog, self._on_undone, alone=not settings.join
        )
        self.exclusion = Exclusion()
        self._orders = Orders(
            self._loop,
            settings,
            identity,
            self.supervisor,
            self._workforce,
            self._molds,
            ports,
            balance,
            affinity,
            self.totals,
            self.chronicle,
            self.relief,
            self.tampering,
            self.exclusion,
            self.feed,
            self._leave,
        )
        self._molds.deliver_to(self._orders, self._workforce)
        self._beforehand = Beforehand(
            self._loop,
            settings,
            identity,
            self.supervisor,
            self.chronicle,
            lambda: self._handle(ev.ReloadRequested()),
        )
        self._workforce.others = self._beforehand.pids
        self._notifier = Notifier(
            self._loop, self.supervisor, self.chronicle.history, settings.min_ready, os.environ
        )
        self._unevenness = Unevenness(
            self._loop, self.supervisor, self.processes, self.readings, self._orders.carry_out
        )
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = self._tick_at = 0.0
        """When the next look is due, whatever else wakes us before: that is the second."""
        self._calm = False
        """All workers rest."""
        self._broken: Exception | None = None
        """What ended us, if a callback of ours failed."""

    def run(self, attach: Attach | None = None) -> int:
        """Serve until a stop is complete; meanwhile, whatever `attach` brings sees and steers us.

        Signals are read by then, also those that came before (siginfo.hold).
        """
        operator = self._operator()
        detach = None
        with contextlib.closing(Signals()) as self._signals:
            try:
                self._wake_at = self._loop.time()
                self._tick_at = self._wake_at + TICK
                self._loop.add_reader(self._signals.fileno(), self._on_signals)
                self._loop.guard(self._begin)()
                if attach is not None and self.exit_code is None:
                    detach = attach(self._bare_loop, operator)
                if self.exit_code is None:
                    self._bare_loop.run_forever()
            finally:
                if detach is not None:
                    self._bare_loop.run_until_complete(detach())
                operator.close()
                self._beforehand.close()
                self._molds.close()
                self._bare_loop.close()
                self.relief.close()
                self.tampering.close()
                self.exclusion.close()
                self._notifier.close()
        if self.exit_code is None and self._broken is None:
            raise RuntimeError("the event loop stopped without an exit code")
        return self.exit_code or (0 if self._broken is None else CUT_SHORT)

    def _begin(self) -> None:
        # First: whoever has told us to stop by now wants nothing started.
        self._on_signals()
        self.relief.begin()
        self._notifier.begin()
        self._be_watchful()
        self.feed(ev.Begin())

    def _operator(self) -> Operator:
        usage = Usage()
        overview = Overview(
            self.settings,
            self.supervisor,
            self.processes,
            self.ports,
            self.balance,
            self.exclusion,
            self.chronicle,
            usage,
        )
        return Operator(
            self.supervisor,
            self.processes,
            overview,
            self.chronicle,
            usage,
            self.scoreboard,
            self.feed,
            self._loop,
        )

    # ── signals ───────────────────────────────────────────────────────────────────────────────────────

    def _on_signals(self) -> None:
        for came in self._signals.read():
            if came.by_kernel() and came.number in FROM_TERMINAL:
                log.debug("%s from the terminal: nobody's wish", came.number.name)
                continue
            log.debug("%s from pid %d", came.number.name, came.sender)
            self._react(came.number)

    def _react(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._be_over_soon()
                self.feed(ev.StopRequested())
            case signal.SIGQUIT:
                self._be_over_soon()
                self.feed(ev.QuitRequested())
            case signal.SIGHUP:
                self.feed(ev.ReloadRequested())
            case signal.SIGTTIN:
                self.feed(ev.ScaleRequested(+1))
            case signal.SIGTTOU:
                self.feed(ev.ScaleRequested(-1))
            case signal.SIGUSR1:
                self._reopen_logs()
            case signal.SIGCHLD:
                self._workforce.reap_strays()
            case _:
                log.warning("%s means nothing here", number.name)

    def _be_over_soon(self) -> None:
        """If something of ours has failed, what everybody waits for may never come: not for ever."""
        if self._broken is not None:
            self._loop.call_later(self.supervisor.policy.kill_grace, self._bare_loop.stop)

    # ── failures ──────────────────────────────────────────────────────────────────────────────────────

    def _on_failure(self, error: Exception) -> None:
        """A callback of ours failed. See the head of this file."""
        again, self._broken = self._broken is not None, error
        log.critical("defect in the launcher%s", ", again" if again else ": it stops", exc_info=error)
        if again:
            self._bare_loop.stop()
            return
        policy = self.supervisor.policy
        self._loop.call_later(policy.graceful_timeout + 2 * policy.kill_grace, self._bare_loop.stop)
        # In a turn of its own: the supervisor may be in the middle of what failed.
        self._loop.call_soon(self.feed, ev.Broken())

    # ── events ────────────────────────────────────────────────────────────────────────────────────────

    def feed(self, event: Event) -> None:
        """Give the supervisor an event, unless that has to wait for something."""
        if isinstance(event, ev.ReloadRequested) and self._beforehand.comes_first():
            return
        if isinstance(event, ev.StopRequested | ev.QuitRequested):
            self._beforehand.stop()
        self._handle(event)

    def _handle(self, event: Event) -> None:
        """Give it the event now, do what it says, and set the timer for its next deadline."""
        if self.exit_code is not None:
            return
        now = self._loop.time()
        late = now - self._wake_at
        self._orders.carry_out(self.supervisor.handle(event, now, late if late > LATE else 0.0))
        due = self.supervisor.next_deadline()
        if late > LATE:
            self._tick_at = now
        # Not a whole TICK from here: events that follow each other closely would put off the looks for ever.
        self._wake_at = self._tick_at if due is None else min(due, self._tick_at)
        self._set_timer()
        self._loop.attempt(self._notifier.look)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._wake_at, self._on_timer)

    def _stir(self) -> None:
        """Somebody has come: look more often again."""
        if self._calm and self.exit_code is None:
            self._be_watchful()
            self._tick_at = min(self._tick_at, self._loop.time() + TICK)
            self._wake_at = min(self._wake_at, self._tick_at)
            self._set_timer()

    def _on_timer(self) -> None:
        if self._loop.time() - self._wake_at > LATE:
            # Who has died meanwhile does so before anything is decided about whoever was late.
            self._workforce.collect()
        self._tick_at = self._loop.time() + TICK
        attempt = self._loop.attempt
        for sentence in attempt(lambda: list(self.neighbours.look(self._loop.time()))) or ():
            self.chronicle.note(Kind.FOREIGN_LISTENER, sentence, level="warning")
        attempt(lambda: self.chronicle.look(self.supervisor.slots, self._loop.time()))
        attempt(self.balance.tell_again)
        attempt(lambda: self.tampering.look(self._loop.time()))
        grown = attempt(lambda: list(self.memory.look(self.processes.values(), self._loop.time())))
        for number, detail in grown or ():
            self.feed(ev.Outgrown(number, detail))
        if self._all_rest():
            self._calm = True
            self._tick_at += CALM - TICK
            self._unevenness.pause()
        else:
            self._be_watchful()
        self.feed(self._tick())

    def _be_watchful(self) -> None:
        self._calm = False
        if self.settings.rebalance and not self.settings.ssl_certfile:  # what is encrypted cannot move
            self._unevenness.begin()

    def _on_undone(self, slot: int | None, sentence: str) -> None:
        self.chronicle.note(Kind.TAMPERED, sentence, level="warning", slot=slot)
        serving = None if slot is None else self.supervisor.slots[slot].serving()
        if serving is not None:
            self.feed(ev.Unlistened(serving.number))

    def _tick(self) -> ev.Tick:
        pulses, loads = {}, {}
        for number, process in self.processes.items():
            place = process.spawn.slot, process.spawn.desk
            pulses[number] = self.readings.word(*place, Desk.HEARTBEAT)
            loads[number] = self.readings.word(*place, Desk.LOAD)
        return ev.Tick(pulses, loads)

    def _all_rest(self) -> bool:
        places = ((process.spawn.slot, process.spawn.desk) for process in self.processes.values())
        return self.supervisor.stage() == "serving" and all(self.readings.rests(*place) for place in places)

    # ── log files ─────────────────────────────────────────────────────────────────────────────────────

    def _reopen_logs(self) -> None:
        """Ours by the thread that writes there, and first: workers can open what we have made and given them.

        If the thread has to wait for somebody who does not take the log, workers do not.
        """
        overdue = self._loop.call_later(REOPENING, self._orders.reopen_logs)

        def reopen_ours() -> None:
            reopen()
            if self.identity is not None:
                give_files_to(self.identity.uid)
            with contextlib.suppress(RuntimeError):  # the loop is closed: it took until the stop
                self._loop.call_soon_threadsafe(reopened)

        def reopened() -> None:
            overdue.cancel()
            self._orders.reopen_logs()
            self.chronicle.note(Kind.LOGS_REOPENED, "log files opened again")

        self.relay.put(reopen_ours)

    def _leave(self, code: int) -> None:
        self.exit_code = code
        self._bare_loop.stop()
