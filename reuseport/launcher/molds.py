"""The launcher's end of the molds: has workers forked, and does without where that is not to be had.

One mold for the generation that serves, one for the generation that a reload brings. Nothing depends on them:
whatever goes wrong, the worker that was ordered is executed instead, and later there is another mold.

Except that with --preload the application's import fails there for all workers alike, if it does: then those
that were ordered have failed. With --preload=try there is another mold, which leaves the application to them.
Where one mold of a generation could import it, nothing depends on the next: workers import it by themselves.

A mold runs as the workers' user and is trusted no more than they. What it says is validated (packets.py); a
pid is believed only if it is a child of ours that nobody else has, and has itself said that it is this
worker: the kernel knows. Else any child that we have besides could be made a worker, which we end one day:
one of whoever executed us, or an orphan of a container. A mold that says anything else, or nothing in time,
is killed.

Owns each mold's process and channel, and of each expected worker what `Expected` owns. If the mold dies
    before an order is sent      the order goes nowhere: the end of file is heard, the worker executed;
    after the fork, unheard      our end of that worker's channel is closed, so it exits. It is our child by
                                 then, since its parent was the mold's child: a stray, which is reaped.
"""

from __future__ import annotations

import logging
import select
import signal
from collections.abc import Callable, Collection, Container
from dataclasses import replace
from typing import Protocol

from reuseport.channel import PeerGoneError
from reuseport.kernel.subreaper import adopt_orphans
from reuseport.launcher.deciding.events import Spawn
from reuseport.launcher.execution import Execution, has_ended, is_child
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.headstart import MOMENT
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.mold import Mold
from reuseport.launcher.process import Expected, Process
from reuseport.messages import Born, Cast, Failed, FromMold, Prepared, Unborn
from reuseport.packets import ViolationError
from reuseport.settings.table import Settings

PREPARING = 30.0
"""Seconds in which a mold is to have imported everything, and to have answered its first orders."""
BIRTH = 5.0
"""Seconds in which it then is to answer an order, which takes it some milliseconds."""
PAUSES = (1.0, 5.0, 30.0)
"""Seconds after which a mold that is gone is followed by another, the first time, the second, and so on."""
FOREVER = 1e8
"""Seconds."""

log = logging.getLogger("reuseport")


class Spawning(Protocol):
    """Who has ordered the workers."""

    def start(self, process: Process) -> None:
        """This worker is there."""

    def execute(self, spawn: Spawn) -> None:
        """This one is not to be had from a mold: execute it."""

    def spawn(self, spawn: Spawn) -> None:
        """This one is not to be had from the mold it was ordered from; perhaps from another."""

    def fail(self, spawn: Spawn, failed: Failed) -> None:
        """This one could not start."""


class Children(Protocol):
    """Who knows all workers."""

    def has(self, pid: int) -> bool:
        """It is a worker's that we have, or another child's that we know."""

    def reap_strays(self) -> None:
        """Nobody is expected any more: whatever child is unknown is a stray."""


class Molds:
    """All of them. Works when it knows whom to `deliver_to`."""

    _orders: Spawning
    _workforce: Children

    def __init__(
        self, loop: GuardedLoop, settings: Settings, identity: Identity | None, first: Mold | None
    ) -> None:
        """`first`: the first generation's, if it is there already; ours when it is wanted."""
        self._loop = loop
        self._settings = settings
        self._identity = identity
        self._first = first
        self._molds: list[Mold] = []
        """All that are not reaped, also those that are condemned."""
        self._wanted: Container[int] = ()
        self._apart: set[int] = set()
        """Generations whose application workers import by themselves, since it cannot be shared."""
        self._loaded: set[int] = set()
        """Generations whose application has been imported by a mold."""
        self._refused: set[int] = set()
        """Generations whose application could not be: only who is ordered is a reason to try it again."""
        self._losses = 0
        self._not_before = 0.0
        if settings.mold:
            adopt_orphans()

    def deliver_to(self, orders: Spawning, workforce: Children) -> None:
        """Tell these of workers from now on."""
        self._orders = orders
        self._workforce = workforce

    def keep(self, generations: Collection[int]) -> None:
        """Have a mold for each of these generations, and for no other."""
        self._wanted = generations if self._settings.mold else ()
        for mold in list(self._molds):
            if mold.generation not in generations:
                self._end(mold)
        for known in (self._apart, self._loaded, self._refused):
            known.intersection_update(generations)
        for generation in generations:
            if generation not in self._refused:
                self._provide(generation)

    def cast(self, spawn: Spawn) -> bool:
        """Have the worker forked; False: there is no mold for it. Raises OSError: no descriptor is free."""
        if spawn.generation in self._refused:
            self._refused.remove(spawn.generation)
            self._provide(spawn.generation)
        mold = self._of(spawn.generation)
        if mold is None:
            return False
        expected, theirs = Expected.of(spawn)
        with theirs:
            expected.ask_who()
            try:
                mold.channel.send(Cast(spawn.worker, spawn.slot, spawn.generation), [theirs.fileno()])
            except OSError:
                expected.close()
                raise
        mold.owed += 1
        patience = BIRTH if mold.prepared else self._patience(mold)
        overdue = self._loop.call_later(patience, self._condemn, mold, "it does not answer")
        mold.expected[spawn.worker] = expected, overdue
        if mold.channel.waiting:
            self._loop.add_writer(mold.channel.fileno(), self._on_writable, mold)
        return True

    def forget(self, worker: int) -> Spawn | None:
        """The worker is expected no more; None: it was not."""
        for mold in self._molds:
            if worker in mold.expected:
                expected, overdue = mold.expected.pop(worker)
                overdue.cancel()
                expected.close()
                self._settle()
                return expected.spawn
        return None

    def overdue(self, generation: int) -> None:
        """A worker of this generation was not ready in time: if the mold's import is why, that is over."""
        mold = self._of(generation)
        if mold is not None and mold.preloads and not mold.prepared:
            self._apart.add(generation)
            self._condemn(mold, "it has not imported the application in time (--startup-timeout)")

    def expecting(self) -> bool:
        """Somebody may be our child whom we do not know yet."""
        return any(mold.expected for mold in self._molds)

    def _settle(self) -> None:
        if not self.expecting():
            self._loop.call_soon(self._workforce.reap_strays)

    def pids(self) -> dict[int, Callable[[], None]]:
        """Of all molds, and what is to be done when one is found dead."""
        found: dict[int, Callable[[], None]] = {
            mold.pid: lambda mold=mold: self._on_exit(mold)  # type: ignore[misc]
            for mold in self._molds
        }
        if self._first is not None:
            found[self._first.pid] = self._forget_first
        return found

    def _forget_first(self) -> None:
        """It has died before anybody wanted it; whoever does has another one made, and is told what fails."""
        first, self._first = self._first, None
        if first is not None:
            first.execution.reap_now()
            first.execution.close()
            first.channel.close()

    def close(self) -> None:
        """End all of them, and wait a moment: nothing is to be left of us. The loop runs no more."""
        gone = select.poll()
        for mold in self._molds:
            self._end(mold)
            gone.register(mold.execution.pidfd, select.POLLIN)
        deadline = self._loop.time() + MOMENT
        while self._molds and (left := deadline - self._loop.time()) > 0:
            for pidfd, _ in gone.poll(1000 * left):
                mold = next(each for each in self._molds if each.execution.pidfd == pidfd)
                gone.unregister(pidfd)
                mold.execution.reap_now()
                mold.execution.close()
                self._molds.remove(mold)

    # ── one mold ──────────────────────────────────────────────────────────────────────────────────────

    def _of(self, generation: int) -> Mold | None:
        found = (mold for mold in self._molds if mold.generation == generation and not mold.condemned)
        return next(found, None)

    def _patience(self, mold: Mold) -> float:
        """Seconds until it is to have imported everything."""
        if not mold.preloads:
            return PREPARING
        return PREPARING + self._settings.startup_timeout if self._settings.startup_timeout else FOREVER

    def _provide(self, generation: int) -> None:
        if generation not in self._wanted or self._of(generation) is not None:
            return
        if self._loop.time() < self._not_before:
            return  # the timer that waits for it comes here, too
        try:
            apart = generation in self._apart
            settings = replace(self._settings, preload="off") if apart else self._settings
            mold = self._first or Mold(generation, settings, self._identity)
        except OSError as error:
            self._lost(generation, f"could not be started: {error}")
            return
        self._first = None
        self._molds.append(mold)
        mold.preload()
        self._loop.add_reader(mold.execution.pidfd, self._on_exit, mold)
        self._loop.add_reader(mold.channel.fileno(), self._on_message, mold)

    def _lost(self, generation: int, how: str) -> None:
        pause = PAUSES[min(self._losses, len(PAUSES) - 1)]
        self._losses += 1
        self._not_before = self._loop.time() + pause
        self._loop.call_later(pause, self._provide, generation)
        log.warning(
            "the mold of generation %d %s; workers are executed afresh until there is another, in %g s",
            generation,
            how,
            pause,
        )

    def _end(self, mold: Mold) -> None:
        """It is not wanted any more; whom it was to fork is executed."""
        for spawn in self._kill(mold):
            self._loop.call_soon(self._orders.execute, spawn)

    def _kill(self, mold: Mold) -> list[Spawn]:
        mold.condemned = True
        unborn = self._release(mold)
        mold.execution.send(signal.SIGKILL)
        return unborn

    def _condemn(self, mold: Mold, why: str) -> None:
        if mold in self._molds and not mold.condemned:
            # First: another one, which may do the same, is to come after a pause.
            self._lost(mold.generation, f"is killed: {why}")
            self._end(mold)

    def _release(self, mold: Mold) -> list[Spawn]:
        """Hear it no more. Whom it was to fork."""
        if mold.channel.fileno() < 0:
            return []
        self._loop.remove_reader(mold.channel.fileno())
        self._loop.remove_writer(mold.channel.fileno())
        mold.channel.close()
        for expected, overdue in mold.expected.values():
            overdue.cancel()
            expected.close()
        unborn = [expected.spawn for expected, _ in mold.expected.values()]
        mold.expected.clear()
        self._settle()
        return unborn

    def _on_exit(self, mold: Mold) -> None:
        if mold not in self._molds:
            return  # it was reaped on another way
        self._loop.remove_reader(mold.execution.pidfd)
        if not mold.condemned:
            self._on_message(mold)
        status = mold.execution.reap_now()
        mold.execution.close()
        self._molds.remove(mold)
        for spawn in self._release(mold):
            self._loop.call_soon(self._orders.execute, spawn)
        if not mold.condemned and mold.generation in self._wanted:
            gone = "is gone" if status is None else f"is gone, with status {status}"
            self._lost(mold.generation, gone if mold.failed is None else f"has failed: {mold.failed.text}")

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────

    def _on_message(self, mold: Mold) -> None:
        try:
            received = mold.channel.receive()
        except PeerGoneError:
            self._loop.remove_reader(mold.channel.fileno())
            self._loop.call_later(BIRTH, self._condemn, mold, "it has closed its channel")
            return
        except ViolationError as error:
            self._condemn(mold, str(error))
            return
        for message, _ in received:
            if not mold.condemned:
                self._hear(mold, message)

    def _hear(self, mold: Mold, message: FromMold) -> None:
        match message:
            case Failed() | Prepared() if mold.prepared or mold.failed is not None:
                self._condemn(mold, "it says that it is prepared, or not, again, which nobody has asked")
            case Born() | Unborn() if not mold.owed:
                self._condemn(mold, "it says that it has forked, or not, whom nobody has ordered")
            case Failed():
                self._fail(mold, message)
            case Prepared():
                mold.prepared = True
                if mold.preloads:
                    self._loaded.add(mold.generation)
                self._losses = 0
                log.debug("the mold of generation %d is ready (pid %d)", mold.generation, mold.pid)
            case Born(worker, pid):
                mold.owed -= 1
                self._bear(mold, worker, pid)
            case Unborn(worker, text):
                mold.owed -= 1
                log.warning("the mold of generation %d cannot fork: %s", mold.generation, text)
                self._instead(mold, worker)

    def _fail(self, mold: Mold, failed: Failed) -> None:
        mold.failed = failed
        if not mold.preloads or mold.generation in self._loaded:
            return  # it is about to be gone, and that is enough
        if self._settings.preload == "try":
            log.warning("--preload=try: workers import the application by themselves: %s", failed.text)
            self._apart.add(mold.generation)
            for spawn in self._kill(mold):
                self._loop.call_soon(self._orders.spawn, spawn)
            self._provide(mold.generation)
        else:
            self._refused.add(mold.generation)
            for spawn in self._kill(mold):
                self._loop.call_soon(self._orders.fail, spawn, failed)

    def _bear(self, mold: Mold, worker: int, pid: int) -> None:
        if worker not in mold.expected:
            return  # it was forgotten, and reads the end of file
        if pid in self.pids() or self._workforce.has(pid) or not is_child(pid):
            self._condemn(mold, f"it says that worker {worker} is pid {pid}, which it is not")
            return
        if (who := mold.expected[worker][0].who()) != pid:
            if who is None and has_ended(pid):
                self._instead(mold, worker)  # before it could say so
            else:
                self._condemn(mold, f"it says that worker {worker} is pid {pid}, which does not say so")
            return
        try:
            execution = Execution(pid)
        except OSError:  # no descriptor is free: it reads the end of file
            self._instead(mold, worker)
            return
        expected, overdue = mold.expected.pop(worker)
        overdue.cancel()
        self._orders.start(expected.born(execution))
        self._settle()

    def _instead(self, mold: Mold, worker: int) -> None:
        if worker in mold.expected and (spawn := self.forget(worker)) is not None:
            self._loop.call_soon(self._orders.execute, spawn)

    def _on_writable(self, mold: Mold) -> None:
        mold.channel.flush()
        if not mold.channel.waiting:
            self._loop.remove_writer(mold.channel.fileno())
