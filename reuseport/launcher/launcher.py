"""The launcher: one event loop that turns facts into events and has carried out what the supervisor decides.

Facts come from the workforce, from signals through asyncio's wakeup pipe, and from the timer; `orders`
carries actions out. Callbacks only, no coroutine ever waits here, so a stop is acted on in the middle of
anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from reuseport.history import Kind
from reuseport.instance import Attach
from reuseport.launcher.balance import Balance
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.burden import WINDOW
from reuseport.launcher.deciding.events import Event
from reuseport.launcher.deciding.rebalancing import Rebalancing
from reuseport.launcher.deciding.slots import Policy
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.operator import Operator
from reuseport.launcher.orders import Orders
from reuseport.launcher.ports import Ports
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.overview import Overview
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.telling.usage import Usage
from reuseport.launcher.watching.memory import MemoryWatch
from reuseport.launcher.watching.neighbours import Neighbours
from reuseport.launcher.watching.readings import Readings
from reuseport.launcher.watching.relief import Relief
from reuseport.launcher.workforce import Workforce
from reuseport.logs import Relay, give_files_to, reopen
from reuseport.messages import Pass
from reuseport.scoreboard import Desk
from reuseport.settings.table import Settings

TICK = 0.25
"""Seconds between looks at the heartbeats: a quarter of the time after which a loop counts as stalled."""
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
    ) -> None:
        self.settings = settings
        self.identity = identity
        self.ports = ports
        self.balance = balance
        self.relay = relay
        self.scoreboard = balance.scoreboard
        self.rebalancing = Rebalancing()
        self.memory = MemoryWatch(settings.worker_max_rss)
        self.neighbours = Neighbours(ports, steered=balance.choice.steered)
        self.supervisor = Supervisor(policy, random.Random())
        self.readings = Readings(self.scoreboard)
        self.totals = Totals(self.readings)
        self.chronicle = Chronicle(self.totals)
        self.exit_code: int | None = None
        self._loop = asyncio.new_event_loop()
        self._workforce = Workforce(self._loop, self.totals, self.chronicle, self.feed)
        self.processes = self._workforce.processes
        self.relief = Relief(self._loop, self.supervisor, self.processes, self.readings, self.feed)
        self._orders = Orders(
            self._loop,
            settings,
            identity,
            self.supervisor,
            self._workforce,
            ports,
            balance,
            self.totals,
            self.chronicle,
            self.relief,
            self.feed,
            self._leave,
        )
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._broken: BaseException | None = None

    def run(self, attach: Attach | None = None) -> int:
        """Serve until a stop is complete; meanwhile, whatever `attach` brings sees and steers us."""
        self._loop.set_exception_handler(self._break)
        operator = self._operator()
        detach = None
        try:
            for number, react in self._reactions().items():
                self._loop.add_signal_handler(number, react)
            self._wake_at = self._loop.time()
            self.relief.begin()
            if self.settings.rebalance and not self.settings.ssl_certfile:  # what is encrypted cannot move
                self._loop.call_later(WINDOW, self._rebalance)
            if attach is not None:
                detach = attach(self._loop, operator)
            self.feed(ev.Begin())
            if self.exit_code is None:
                self._loop.run_forever()
        finally:
            if detach is not None:
                self._loop.run_until_complete(detach())
            operator.close()
            if self._timer is not None:
                self._timer.cancel()
            self._loop.close()
            self.relief.close()
        if self._broken is not None:
            raise self._broken
        if self.exit_code is None:
            raise RuntimeError("the event loop stopped without an exit code")
        return self.exit_code

    def _operator(self) -> Operator:
        usage = Usage()
        overview = Overview(
            self.settings,
            self.supervisor,
            self.processes,
            self.ports,
            self.balance,
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

    def _reactions(self) -> Mapping[signal.Signals, Callable[[], None]]:
        """What each signal means. Handlers run in the loop, between two other callbacks."""
        return {
            signal.SIGTERM: partial(self.feed, ev.StopRequested()),
            signal.SIGINT: partial(self.feed, ev.StopRequested()),
            signal.SIGQUIT: partial(self.feed, ev.QuitRequested()),
            signal.SIGHUP: partial(self.feed, ev.ReloadRequested()),
            signal.SIGTTIN: partial(self.feed, ev.ScaleRequested(+1)),
            signal.SIGTTOU: partial(self.feed, ev.ScaleRequested(-1)),
            signal.SIGUSR1: self._reopen_logs,
            # Its default would end the launcher.
            signal.SIGUSR2: partial(log.warning, "SIGUSR2 means nothing here"),
            signal.SIGCHLD: self._workforce.reap_strays,
        }

    def _break(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception in a callback of ours is a defect: end the launcher with it. The workers drain.

        Whatever a visitor breaks, in tasks, transports and callbacks that are not ours, is only told.
        """
        error = context.get("exception")
        if not _is_ours(context):
            loop.default_exception_handler(context)
            return
        self._broken = error if isinstance(error, BaseException) else RuntimeError(str(context["message"]))
        self._loop.stop()

    # ── events ────────────────────────────────────────────────────────────────────────────────────────

    def feed(self, event: Event) -> None:
        """Give the supervisor an event, do what it says, and set the timer for its next deadline."""
        if self.exit_code is not None:
            return
        now = self._loop.time()
        late = now - self._wake_at
        self._orders.carry_out(self.supervisor.handle(event, now, late if late > LATE else 0.0))
        due = self.supervisor.next_deadline()
        self._wake_at = now + TICK if due is None else min(due, now + TICK)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._wake_at, self._on_timer)

    def _on_timer(self) -> None:
        for sentence in self.neighbours.look(self._loop.time()):
            self.chronicle.note(Kind.FOREIGN_LISTENER, sentence, level="warning")
        self.chronicle.look(self.supervisor.slots, self._loop.time())
        for number, detail in self.memory.look(self.processes.values(), self._loop.time()):
            self.feed(ev.Outgrown(number, detail))
        self.balance.tell_again()
        self.feed(self._tick())

    def _tick(self) -> ev.Tick:
        pulses, loads = {}, {}
        for number, process in self.processes.items():
            place = process.spawn.slot, process.spawn.desk
            pulses[number] = self.readings.word(*place, Desk.HEARTBEAT)
            loads[number] = self.readings.word(*place, Desk.LOAD)
        return ev.Tick(pulses, loads)

    # ── live connections ──────────────────────────────────────────────────────────────────────────────

    def _rebalance(self) -> None:
        """Have those who are busiest pass connections on, if that makes anything better."""
        self._loop.call_later(WINDOW, self._rebalance)
        readings = {
            slot.number: self.readings.of(worker, process.pid)
            for slot in self.supervisor.slots.values()
            if (worker := slot.serving()) is not None
            and (process := self.processes.get(worker.number)) is not None
        }
        for move in self.rebalancing.look(readings, time.monotonic_ns()):
            self._orders.carry_out([ev.Tell(move.worker, Pass(move.count, move.slot))])

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
        self._loop.stop()


def _is_ours(context: Mapping[str, Any]) -> bool:
    """Whether a callback of the launcher's own failed: we give the loop neither tasks nor transports."""
    callback = getattr(context.get("handle"), "_callback", None)
    while isinstance(callback, partial):
        callback = callback.func
    module = getattr(callback, "__module__", None) or ""
    return callback is not None and module.startswith("reuseport.launcher")
