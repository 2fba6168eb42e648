"""The launcher: one event loop that turns facts into events and carries out what the supervisor decides.

Facts arrive on descriptors: a pidfd is readable when its worker is gone, a channel when its worker
speaks, asyncio's wakeup pipe when a signal came. Callbacks only, no coroutine ever waits here, so a stop
is acted on in the middle of anything.

Descriptors, all of them the launcher's: reservations, shared sockets, each slot's listeners (the escrow, kept
until `Release`) and inbox, the scoreboard, and of each worker its pidfd and channel. Workers have duplicates.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from reuseport.channel import DescriptorsLostError, PeerGoneError
from reuseport.errors import ReuseportError
from reuseport.history import Kind
from reuseport.instance import Attach
from reuseport.launcher.balance import Balance
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.burden import WINDOW
from reuseport.launcher.deciding.events import Action, Blame, Event, Reason
from reuseport.launcher.deciding.rebalancing import Rebalancing
from reuseport.launcher.deciding.slots import Policy
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.operator import Operator
from reuseport.launcher.ports import Ports
from reuseport.launcher.process import Process
from reuseport.launcher.telling import exits, multiprocess
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.overview import Overview
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.telling.usage import Usage
from reuseport.launcher.watching import strays
from reuseport.launcher.watching.memory import MemoryWatch
from reuseport.launcher.watching.neighbours import Neighbours
from reuseport.launcher.watching.readings import Readings
from reuseport.launcher.watching.relief import Relief
from reuseport.logs import give_files_to, reopen
from reuseport.messages import (
    Drain,
    Failed,
    Foster,
    Leaving,
    LimitReached,
    Listens,
    Pass,
    Ready,
    ReopenLogs,
    Start,
    Unfoster,
)
from reuseport.scoreboard import Desk
from reuseport.settings.table import Settings

TICK = 0.25
"""Seconds between looks at the heartbeats: a quarter of the time after which a loop counts as stalled."""
LATE = 1.0
"""Seconds of lateness from which on the launcher blames itself: it was stopped, or the machine was."""
DEAF = 1.0
"""Seconds an exit may follow the end of file on the channel; after that the application closed it."""

log = logging.getLogger("reuseport")


class Launcher:
    """Wires a supervisor to processes, signals and time. `run` returns the exit code."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        ports: Ports,
        balance: Balance,
        identity: Identity | None = None,
    ) -> None:
        self.settings = settings
        self.identity = identity
        self.ports = ports
        self.balance = balance
        self.scoreboard = balance.scoreboard
        self.rebalancing = Rebalancing()
        self.memory = MemoryWatch(settings.worker_max_rss)
        self.neighbours = Neighbours(ports, steered=balance.choice.steered)
        self.supervisor = Supervisor(policy, random.Random())
        self.processes: dict[int, Process] = {}
        self.readings = Readings(self.scoreboard)
        self.totals = Totals(self.readings)
        self.chronicle = Chronicle(self.totals)
        self.exit_code: int | None = None
        self._loop = asyncio.new_event_loop()
        self.relief = Relief(self._loop, self.supervisor, self.processes, self.readings, self.feed)
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._blames: dict[int, Blame] = {}
        self._told = ""
        """The last startup failure that was printed: N workers fail alike, once is enough."""
        self._oom_kills = exits.oom_kills()
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
            signal.SIGCHLD: self._reap_strays,
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
        if late > LATE:
            self._wake_at = now
            self._carry_out(self.supervisor.handle(self._tick(late), now))
        self._carry_out(self.supervisor.handle(event, now))
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
            self.feed(ev.LimitReached(number, Reason.MAX_RSS, detail))
        late = self._loop.time() - self._wake_at
        self.feed(self._tick(late if late > LATE else 0.0))

    def _tick(self, late: float) -> ev.Tick:
        pulses, loads = {}, {}
        for number, process in self.processes.items():
            place = process.spawn.slot, process.spawn.desk
            pulses[number] = self.readings.word(*place, Desk.HEARTBEAT)
            loads[number] = self.readings.word(*place, Desk.LOAD)
        return ev.Tick(pulses, loads, late)

    # ── live connections ──────────────────────────────────────────────────────────────────────────────

    def _rebalance(self) -> None:
        """Have those who are busiest pass connections on, if that makes anything better."""
        self._loop.call_later(WINDOW, self._rebalance)
        readings = {
            slot.number: self.readings.of(worker, self.processes[worker.number].pid)
            for slot in self.supervisor.slots.values()
            if (worker := slot.serving()) is not None
        }
        for move in self.rebalancing.look(readings, time.monotonic_ns()):
            process = self.processes[move.worker]
            log.debug("slot %d passes %d on to slot %d", process.spawn.slot, move.count, move.slot)
            self._send(process, Pass(move.count), [self.ports.inbox(move.slot)[1]])

    def _on_message(self, number: int) -> None:
        process = self.processes[number]
        try:
            received = process.channel.receive()
        except PeerGoneError:
            self._loop.remove_reader(process.channel.fileno())
            self._loop.call_later(DEAF, self._on_deaf, number)
            return
        except DescriptorsLostError as error:
            log.error("worker in slot %d cannot be taken in: %s", process.spawn.slot, error)  # noqa: TRY400
            process.end(signal.SIGKILL)
            return
        for message, _ in received:
            match message:
                case Listens():
                    self.feed(ev.WorkerListens(number))
                case Ready() if process.exited:
                    pass  # ready and dead in one turn of the loop: nobody is to drain for a corpse
                case Ready():
                    self._told = ""
                    self.feed(ev.WorkerReady(number))
                case Failed(blame, text):
                    self._blames[number] = Blame.OPERATOR if blame == "operator" else Blame.APPLICATION
                    self._tell(process.spawn.slot, text)
                case LimitReached(requests):
                    detail = f"it answered {requests} requests (--limit-max-requests)"
                    self.feed(ev.LimitReached(number, Reason.MAX_REQUESTS, detail))
                case Leaving():
                    self.feed(ev.WorkerLeaving(number))
                case _:
                    raise TypeError(f"a worker does not send {message!r}")

    def _on_deaf(self, number: int) -> None:
        """A second ago the worker's channel ended. Nearly always its process did, too."""
        process = self.processes.get(number)
        if process is not None:
            log.error("worker in slot %d closed its channel: it is replaced", process.spawn.slot)
            process.end(signal.SIGTERM)
            self.feed(ev.WorkerLeaving(number))

    def _tell(self, slot: int, text: str) -> None:
        why = ", for the same reason" if text == self._told else f": {text}"
        self._told = text
        self.chronicle.note(
            Kind.COULD_NOT_START, f"worker in slot {slot} could not start{why}", level="error", slot=slot
        )

    def _on_exit(self, number: int) -> None:
        """The pidfd is readable: hear the worker's last words, reap it, tell the supervisor."""
        process = self.processes[number]
        self._loop.remove_reader(process.pidfd)
        process.exited = True
        self._on_message(number)
        self._loop.remove_reader(process.channel.fileno())
        self._loop.remove_writer(process.channel.fileno())
        # Never waits: it is up to a debugger when the status can be had, and nothing here may be.
        status = process.reap_now()
        del self.processes[number]
        process.close()
        self.totals.leave(process.spawn.slot, process.spawn.desk)
        multiprocess.mark_dead(os.environ, process.pid)
        blame = self._blames.pop(number, Blame.APPLICATION)
        self.chronicle.gone(status)
        self.feed(ev.WorkerExited(number, self._explain(process, status), blame))

    def _explain(self, process: Process, status: int | None) -> str:
        slot, pid = process.spawn.slot, process.pid
        if status is None:
            return f"worker in slot {slot} (pid {pid}) is gone; how, the debugger that traces it knows"
        if process.ended_with is not None and status == -process.ended_with:
            return f"worker in slot {slot} (pid {pid}) is gone, ended by our {process.ended_with.name}"
        kills = exits.oom_kills() if status == -signal.SIGKILL else self._oom_kills
        known = kills is not None and self._oom_kills is not None
        grew = known and kills != self._oom_kills
        self._oom_kills = kills
        return exits.explain(slot, pid, status, "yes" if grew else "no" if known else "unknown")

    def _reap_strays(self) -> None:
        """As PID 1 the launcher inherits orphans: a zombie of somebody else's is reaped here."""
        while True:
            # Anew each time: an exit that is acted on may have spawned a worker, which is no stray.
            known = {process.pid: number for number, process in self.processes.items()}
            dead = strays.reap(known)
            if not dead:
                return
            for pid in dead:
                self._on_exit(known[pid])

    def _reopen_logs(self) -> None:
        reopen()
        if self.identity is not None:
            give_files_to(self.identity.uid)
        for process in self.processes.values():
            self._send(process, ReopenLogs())
        self.chronicle.note(Kind.LOGS_REOPENED, "log files opened again")

    # ── actions ───────────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, actions: list[Action]) -> None:  # noqa: C901 - one branch an action is the point
        for action in actions:
            match action:
                case ev.Spawn():
                    self._spawn(action)
                case ev.Drain(worker, timeout, heirs):
                    inboxes = [self.ports.inbox(slot)[1] for slot in heirs]
                    self._send(self.processes[worker], Drain(timeout), inboxes)
                case ev.Foster(worker, slot):
                    self._foster(worker, slot)
                case ev.Unfoster(worker, slot):
                    self._send(self.processes[worker], Unfoster(slot))
                    log.debug("slot %d is fostered no more", slot)
                case ev.Steer(slot, desk):
                    self._steer(slot, desk)
                case ev.Terminate(worker):
                    self._end(worker, signal.SIGTERM)
                case ev.Abort(worker):
                    self._end(worker, signal.SIGABRT)
                case ev.Kill(worker):
                    self._end(worker, signal.SIGKILL)
                case ev.Release():
                    self._release()
                case ev.Report():
                    self.chronicle.report(action)
                case ev.Exit(code):
                    self.exit_code = code
                    self._loop.stop()

    def _end(self, worker: int, with_signal: signal.Signals) -> None:
        process = self.processes.get(worker)
        # A worker that could not be spawned has no process, and its WorkerExited is on its way.
        if process is not None:
            process.end(with_signal)

    def _spawn(self, spawn: ev.Spawn) -> None:
        try:
            # First: a slot without them could not be served, and no descriptor may be free for one.
            receiving, _ = self.ports.inbox(spawn.slot)
            listeners = self.ports.listeners(spawn.slot)
            process = Process.start(spawn, os.environ, self.identity)
        except (OSError, ReuseportError) as error:
            how = f"worker in slot {spawn.slot} could not be spawned: {error}"
            self._loop.call_soon(self.feed, ev.WorkerExited(spawn.worker, how, Blame.OPERATOR))
            return
        # The worker knows of its desk only when it is told to start.
        self.totals.sit(spawn.slot, spawn.desk)
        self.processes[spawn.worker] = process
        self.chronicle.spawned(spawn)
        self._loop.add_reader(process.pidfd, self._on_exit, spawn.worker)
        self._loop.add_reader(process.channel.fileno(), self._on_message, spawn.worker)
        shared = self.ports.shared_fds()
        start = Start(
            settings=self.settings.to_json(),
            slot=spawn.slot,
            desk=spawn.desk,
            generation=spawn.generation,
            slots=self.scoreboard.slots,
            shared=len(shared),
            cpu=self.balance.cpu(spawn.slot),
        )
        self._send(process, start, [self.scoreboard.fd, receiving, process.stacks, *shared, *listeners])

    def _steer(self, slot: int, desk: int | None) -> None:
        listeners = self.ports.escrow(slot)
        # First: a slot beyond those the kernel chooses among would get nothing.
        self.balance.resize(self.supervisor.target, listeners)
        self.balance.steer(slot, desk, listeners)
        self.relief.watch(slot, listeners)

    def _foster(self, worker: int, slot: int) -> None:
        if slot >= self.supervisor.target:
            cause = "scale"
        elif self.supervisor.slots[slot].serving() is not None:
            cause = "stall"
        elif self.supervisor.slots[slot].drained:
            cause = "drain"
        else:
            cause = "crash"
        self.chronicle.fostered(slot, self.processes[worker].spawn.slot, cause)
        receiving, _ = self.ports.inbox(slot)
        self._send(self.processes[worker], Foster(slot), [receiving, *self.ports.listeners(slot)])

    def _release(self) -> None:
        """The whole server stops: workers that drain already have no heirs any more."""
        self.relief.release()
        self.ports.release()
        for process in self.processes.values():
            self._send(process, Drain(self.settings.graceful_timeout))

    def _send(
        self,
        process: Process,
        message: Start | Drain | Foster | Unfoster | Pass | ReopenLogs,
        fds: list[int] | None = None,
    ) -> None:
        process.channel.send(message, fds or [])
        if process.channel.waiting:
            self._loop.add_writer(process.channel.fileno(), self._on_writable, process)

    def _on_writable(self, process: Process) -> None:
        process.channel.flush()
        if not process.channel.waiting:
            self._loop.remove_writer(process.channel.fileno())


def _is_ours(context: Mapping[str, Any]) -> bool:
    """Whether a callback of the launcher's own failed: we give the loop neither tasks nor transports."""
    callback = getattr(context.get("handle"), "_callback", None)
    while isinstance(callback, partial):
        callback = callback.func
    module = getattr(callback, "__module__", None) or ""
    return callback is not None and module.startswith("reuseport.launcher")
