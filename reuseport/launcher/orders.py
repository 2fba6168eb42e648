"""Actions out: carries out what the supervisor decides, on processes, descriptors and the kernel.

Descriptors, all of them the launcher's: reservations, shared sockets, each slot's listeners (the escrow, kept
until `Release`) and inbox, and the scoreboard. What a worker is sent is a duplicate.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

from reuseport.errors import ReuseportError
from reuseport.launcher.affinity import AT_ONCE, Affinity
from reuseport.launcher.balance import Balance
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Action, Blame, Event
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.exclusion import Exclusion
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.molds import Molds
from reuseport.launcher.ports import Ports
from reuseport.launcher.process import Process
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.stacks import SOON, begin_glance, end_glance
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.tickets import TicketKeys
from reuseport.launcher.watching.relief import Relief
from reuseport.launcher.watching.tampering import Tampering
from reuseport.launcher.workforce import Workforce
from reuseport.messages import (
    TO_WORKER,
    Drain,
    Failed,
    Foster,
    Pass,
    Reach,
    ReopenLogs,
    Sibling,
    Start,
    Tickets,
    ToWorker,
    Unfoster,
)
from reuseport.settings.table import Settings

AGAIN = 0.1
"""Seconds until the next try when too many descriptors are under way: that a socket has room says nothing."""

log = logging.getLogger("reuseport")


class Orders:
    """Borrows everything. `feed` hears of what could not be spawned, `leave` gets the exit code."""

    def __init__(
        self,
        loop: GuardedLoop,
        settings: Settings,
        identity: Identity | None,
        supervisor: Supervisor,
        workforce: Workforce,
        molds: Molds,
        ports: Ports,
        balance: Balance,
        affinity: Affinity | None,
        totals: Totals,
        chronicle: Chronicle,
        relief: Relief,
        tampering: Tampering,
        exclusion: Exclusion,
        feed: Callable[[Event], None],
        leave: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._identity = identity
        self._supervisor = supervisor
        self._workforce = workforce
        self._molds = molds
        self._ports = ports
        self._balance = balance
        self._affinity = affinity
        self._totals = totals
        self._chronicle = chronicle
        self._relief = relief
        self._tampering = tampering
        self._exclusion = exclusion
        self._feed = feed
        self._leave = leave
        period = settings.ssl_ticket_rotation if settings.ssl_certfile else 0.0
        self._tickets = TicketKeys(loop, period, self._tell_tickets)

    def carry_out(self, actions: Sequence[Action]) -> None:  # noqa: C901 - one branch an action is the point
        """All of them, in their order."""
        # First: a reload's first worker needs its generation's.
        self._molds.keep(self._supervisor.generations())
        for action in actions:
            match action:
                case ev.Spawn():
                    self._spawn(action)
                case ev.Tell(worker, message):
                    self._tell(worker, message)
                case ev.Steer(slot, desk):
                    self._steer(slot, desk)
                case ev.Terminate(worker):
                    self._end(worker, signal.SIGTERM)
                case ev.Abort(worker):
                    self._end(worker, signal.SIGABRT)
                case ev.Kill(worker):
                    self._end(worker, signal.SIGKILL)
                case ev.Abandon(worker):
                    self._workforce.abandon(worker)
                case ev.Look(worker):
                    self._look(worker)
                case ev.Release():
                    self._release()
                case ev.Report():
                    self._loop.attempt(partial(self._chronicle.report, action))
                case ev.Exit(code):
                    self._leave(code)

    def reopen_logs(self) -> None:
        """Have all workers open their log files again."""
        for process in self._workforce.processes.values():
            self._send(process, ReopenLogs())

    def _tell_tickets(self, keys: tuple[str, ...]) -> None:
        for process in self._workforce.processes.values():
            self._send(process, Tickets(keys))

    # ── each action ───────────────────────────────────────────────────────────────────────────────────

    def _spawn(self, spawn: ev.Spawn) -> None:
        """Have the worker forked, or where that is not to be had, executed."""
        try:
            # First: a slot without them could not be served, and no descriptor may be free for one.
            self._ports.inbox(spawn.slot)
            self._ports.listeners(spawn.slot)
            if self._affinity is not None and self._affinity.open(spawn.slot):
                for process in self._workforce.processes.values():
                    self._tell_ways(process, [spawn.slot])
            forked = self._molds.cast(spawn)
        except (OSError, ReuseportError) as error:
            self._not_spawned(spawn, str(error))
            return
        if not forked:
            self.execute(spawn)

    def spawn(self, spawn: ev.Spawn) -> None:
        """Again, if it is still wanted: its mold is not there any more, and there may be another."""
        if self._supervisor.awaits(spawn.worker):
            self._spawn(spawn)
        else:
            self._not_spawned(spawn, "it is not wanted any more")

    def execute(self, spawn: ev.Spawn) -> None:
        """Start the worker in a fresh interpreter, if it is still wanted."""
        if not self._supervisor.awaits(spawn.worker):
            self._not_spawned(spawn, "it is not wanted any more")
            return
        try:
            process = Process.start(spawn, os.environ, self._identity)
        except OSError as error:
            self._not_spawned(spawn, str(error))
            return
        self.start(process)

    def fail(self, spawn: ev.Spawn, failed: Failed) -> None:
        """The worker could not start: the mold has said why for all of them."""
        self._feed(ev.Heard(spawn.worker, failed))
        how = f"worker in slot {spawn.slot} was not forked: its mold could not import the application"
        self._feed(ev.WorkerExited(spawn.worker, how))

    def _not_spawned(self, spawn: ev.Spawn, why: str) -> None:
        how = f"worker in slot {spawn.slot} could not be spawned: {why}"
        self._loop.call_soon(self._feed, ev.WorkerExited(spawn.worker, how, Blame.OPERATOR))

    def start(self, process: Process) -> None:
        """The worker has a process: take it on, and tell it what it is to serve. Raises as `Ports`."""
        spawn = process.spawn
        receiving, sending = self._ports.inbox(spawn.slot)
        listeners = self._ports.listeners(spawn.slot)
        # The worker knows of its desk only when it is told to start.
        self._totals.sit(spawn.slot, spawn.desk)
        self._workforce.take_on(process)
        self._loop.attempt(partial(self._chronicle.spawned, spawn))
        shared = self._ports.shared_fds()
        own = [self._balance.scoreboard.fd, receiving, process.stacks, sending]
        secret, ways = "", list[int]()
        affinity = self._affinity
        if affinity is not None:
            secret, ways = affinity.secret, affinity.others(spawn.slot)
        with self._exclusion.opened() as locks:
            own += locks
            known = 0
            if affinity is not None:
                own += affinity.own(spawn.slot)
                known = max(0, TO_WORKER.most_descriptors - len(own) - len(shared) - len(listeners))
                own += map(affinity.sending, ways[:known])
            start = Start(
                settings=self._settings.to_json(),
                slot=spawn.slot,
                desk=spawn.desk,
                generation=spawn.generation,
                slots=self._balance.scoreboard.slots,
                shared=len(shared),
                cpu=self._balance.cpu(spawn.slot),
                locks=len(locks),
                secret=secret,
                ways=tuple(ways[:known]),
                tickets=self._tickets.keys if self._settings.ssl_certfile else (),
            )
            self._send(process, start, [*own, *shared, *listeners])
        self._tell_ways(process, ways[known:])

    def _tell_ways(self, process: Process, slots: Sequence[int]) -> None:
        """The worker can move requests to these slots from now on."""
        for at in range(0, len(slots), AT_ONCE):
            self._send(process, reach := Reach(tuple(slots[at : at + AT_ONCE])), self._descriptors(reach))

    def _end(self, worker: int, with_signal: signal.Signals) -> None:
        if (spawn := self._molds.forget(worker)) is not None:
            self._not_spawned(spawn, "it is not wanted any more")
            if with_signal is signal.SIGABRT:
                self._molds.overdue(spawn.generation)
        else:
            self._workforce.end(worker, with_signal)

    def _tell(self, worker: int, message: ToWorker) -> None:
        process = self._workforce.processes.get(worker)
        if process is None:
            return  # it is gone: its exit is told, or about to be
        slot = process.spawn.slot
        match message:
            case Drain() if process.deaf:
                process.end(signal.SIGTERM)  # the second one: it drains without being told to
            case Foster(fostered):
                self._loop.attempt(partial(self._chronicle.fostered, fostered, slot, self._cause(fostered)))
            case Unfoster(fostered):
                log.debug("slot %d is fostered no more", fostered)
            case Pass(count, to):
                log.debug("slot %d passes %d on to slot %d", slot, count, to)
        self._send(process, message, self._descriptors(message))

    def _descriptors(self, message: ToWorker) -> list[int]:
        """What goes with it; Start's are the worker's own. Raises as `Ports.listeners`."""
        match message:
            case Drain(_, heirs):
                return [self._ports.inbox(slot)[1] for slot in heirs]
            case Foster(slot):
                inboxes = [self._ports.inbox(slot)[0]]
                if self._affinity is not None:
                    inboxes.append(self._affinity.receiving(slot))
                return [*inboxes, *self._ports.listeners(slot)]
            case Reach(slots) if self._affinity is not None:
                return [self._affinity.sending(slot) for slot in slots]
            case Sibling(slot):
                return self._ports.listeners(slot)
            case Pass(_, slot):
                return [self._ports.inbox(slot)[1]]
            case _:
                return []

    def _cause(self, slot: int) -> str:
        """Why it is fostered."""
        if slot >= self._supervisor.target:
            return "scale"
        if self._supervisor.slots[slot].serving() is not None:
            return "stall"
        return "drain" if self._supervisor.slots[slot].drained else "crash"

    def _look(self, worker: int) -> None:
        process = self._workforce.processes.get(worker)
        if process is not None:
            begin_glance(process)
            self._loop.call_later(SOON, self._see, worker)

    def _see(self, worker: int) -> None:
        process = self._workforce.processes.get(worker)
        if process is not None:
            self._feed(ev.Seen(worker, end_glance(process)))

    def _steer(self, slot: int, desk: int | None) -> None:
        listeners = self._ports.escrow(slot)
        # First: a slot beyond those the kernel chooses among would get nothing.
        self._balance.resize(self._supervisor.target, listeners)
        self._relief.watch(slot, [*listeners, self._ports.received(slot)])
        self._tampering.watch(slot, listeners)
        try:
            self._balance.steer(slot, desk, listeners)
        except OSError as error:
            # Whoever has a duplicate can have closed it a moment ago: no reason to fail.
            log.error("slot %d is not steered, and is tried again: %s", slot, error.strerror)  # noqa: TRY400
            self._tampering.doubt(slot)

    def _release(self) -> None:
        self._relief.release()
        self._tampering.release()
        self._ports.release()

    # ── what is sent ──────────────────────────────────────────────────────────────────────────────────

    def _send(
        self,
        process: Process,
        message: ToWorker,
        fds: Sequence[int] = (),
    ) -> None:
        waited = process.channel.waiting
        process.channel.send(message, fds)
        if not waited:
            self._wait_for_room(process)

    def _wait_for_room(self, process: Process) -> None:
        if process.channel.waiting and process.channel.crowded:
            self._loop.call_later(AGAIN, self._flush, process)
        elif process.channel.waiting:
            self._loop.add_writer(process.channel.fileno(), self._on_writable, process)

    def _on_writable(self, process: Process) -> None:
        self._loop.remove_writer(process.channel.fileno())
        self._flush(process)

    def _flush(self, process: Process) -> None:
        process.channel.flush()  # nothing, once it is closed
        self._wait_for_room(process)
