"""Actions out: carries out what the supervisor decides, on processes, descriptors and the kernel.

Descriptors, all of them the launcher's: reservations, shared sockets, each slot's listeners (the escrow, kept
until `Release`) and inbox, and the scoreboard. What a worker is sent is a duplicate.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence

from reuseport.errors import ReuseportError
from reuseport.launcher.balance import Balance
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Action, Blame, Event
from reuseport.launcher.deciding.rebalancing import Move
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.ports import Ports
from reuseport.launcher.process import Process
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.watching.relief import Relief
from reuseport.launcher.workforce import Workforce
from reuseport.messages import Drain, Foster, Pass, ReopenLogs, Start, Unfoster
from reuseport.settings.table import Settings

log = logging.getLogger("reuseport")


class Orders:
    """Borrows everything. `feed` hears of what could not be spawned, `leave` gets the exit code."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: Settings,
        identity: Identity | None,
        supervisor: Supervisor,
        workforce: Workforce,
        ports: Ports,
        balance: Balance,
        totals: Totals,
        chronicle: Chronicle,
        relief: Relief,
        feed: Callable[[Event], None],
        leave: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._identity = identity
        self._supervisor = supervisor
        self._workforce = workforce
        self._ports = ports
        self._balance = balance
        self._totals = totals
        self._chronicle = chronicle
        self._relief = relief
        self._feed = feed
        self._leave = leave

    def carry_out(self, actions: Sequence[Action]) -> None:  # noqa: C901 - one branch an action is the point
        """All of them, in their order."""
        processes = self._workforce.processes
        for action in actions:
            match action:
                case ev.Spawn():
                    self._spawn(action)
                case ev.Drain(worker, timeout, heirs):
                    inboxes = [self._ports.inbox(slot)[1] for slot in heirs]
                    self._send(processes[worker], Drain(timeout), inboxes)
                case ev.Foster(worker, slot):
                    self._foster(worker, slot)
                case ev.Unfoster(worker, slot):
                    self._send(processes[worker], Unfoster(slot))
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
                    self._chronicle.report(action)
                case ev.Exit(code):
                    self._leave(code)

    def pass_on(self, move: Move) -> None:
        """Have a worker pass connections on."""
        process = self._workforce.processes[move.worker]
        log.debug("slot %d passes %d on to slot %d", process.spawn.slot, move.count, move.slot)
        self._send(process, Pass(move.count), [self._ports.inbox(move.slot)[1]])

    def reopen_logs(self) -> None:
        """Have all workers open their log files again."""
        for process in self._workforce.processes.values():
            self._send(process, ReopenLogs())

    # ── each action ───────────────────────────────────────────────────────────────────────────────────

    def _spawn(self, spawn: ev.Spawn) -> None:
        try:
            # First: a slot without them could not be served, and no descriptor may be free for one.
            receiving, _ = self._ports.inbox(spawn.slot)
            listeners = self._ports.listeners(spawn.slot)
            process = Process.start(spawn, os.environ, self._identity)
        except (OSError, ReuseportError) as error:
            how = f"worker in slot {spawn.slot} could not be spawned: {error}"
            self._loop.call_soon(self._feed, ev.WorkerExited(spawn.worker, how, Blame.OPERATOR))
            return
        # The worker knows of its desk only when it is told to start.
        self._totals.sit(spawn.slot, spawn.desk)
        self._chronicle.spawned(spawn)
        self._workforce.take_on(process)
        shared = self._ports.shared_fds()
        start = Start(
            settings=self._settings.to_json(),
            slot=spawn.slot,
            desk=spawn.desk,
            generation=spawn.generation,
            slots=self._balance.scoreboard.slots,
            shared=len(shared),
            cpu=self._balance.cpu(spawn.slot),
        )
        self._send(
            process, start, [self._balance.scoreboard.fd, receiving, process.stacks, *shared, *listeners]
        )

    def _foster(self, worker: int, slot: int) -> None:
        if slot >= self._supervisor.target:
            cause = "scale"
        elif self._supervisor.slots[slot].serving() is not None:
            cause = "stall"
        elif self._supervisor.slots[slot].drained:
            cause = "drain"
        else:
            cause = "crash"
        process = self._workforce.processes[worker]
        self._chronicle.fostered(slot, process.spawn.slot, cause)
        receiving, _ = self._ports.inbox(slot)
        self._send(process, Foster(slot), [receiving, *self._ports.listeners(slot)])

    def _steer(self, slot: int, desk: int | None) -> None:
        listeners = self._ports.escrow(slot)
        # First: a slot beyond those the kernel chooses among would get nothing.
        self._balance.resize(self._supervisor.target, listeners)
        self._balance.steer(slot, desk, listeners)
        self._relief.watch(slot, listeners)

    def _end(self, worker: int, with_signal: signal.Signals) -> None:
        process = self._workforce.processes.get(worker)
        # A worker that could not be spawned has no process, and its WorkerExited is on its way.
        if process is not None:
            process.end(with_signal)

    def _release(self) -> None:
        """The whole server stops: workers that drain already have no heirs any more."""
        self._relief.release()
        self._ports.release()
        for process in self._workforce.processes.values():
            self._send(process, Drain(self._settings.graceful_timeout))

    # ── what is sent ──────────────────────────────────────────────────────────────────────────────────

    def _send(
        self,
        process: Process,
        message: Start | Drain | Foster | Unfoster | Pass | ReopenLogs,
        fds: Sequence[int] = (),
    ) -> None:
        process.channel.send(message, fds)
        if process.channel.waiting:
            self._loop.add_writer(process.channel.fileno(), self._on_writable, process)

    def _on_writable(self, process: Process) -> None:
        process.channel.flush()
        if not process.channel.waiting:
            self._loop.remove_writer(process.channel.fileno())
