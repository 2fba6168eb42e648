"""Facts in: what workers say, when their processes are gone, and whose channel has ended before that.

Facts arrive on descriptors: a pidfd is readable when its worker is gone, a channel when its worker speaks.
Owns each worker's process, with its pidfd and channel, from the spawn until it is reaped.
"""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Callable, Mapping
from functools import partial

from reuseport.channel import PeerGoneError
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Event
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.molds import Molds
from reuseport.launcher.process import MOST_MESSAGES, MOST_PER_SECOND, Process
from reuseport.launcher.telling import exits, multiprocess
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.watching import strays
from reuseport.messages import Holds, Ready
from reuseport.packets import ViolationError

DEAF = 1.0
"""Seconds an exit may follow the end of file on the channel; after that the application closed it."""

log = logging.getLogger("reuseport")


class Workforce:
    """All workers' processes, by number. `feed` gets what they do as events."""

    def __init__(
        self,
        loop: GuardedLoop,
        molds: Molds,
        totals: Totals,
        chronicle: Chronicle,
        feed: Callable[[Event], None],
        identity: Identity | None,
    ) -> None:
        self.processes: dict[int, Process] = {}
        self._loop = loop
        self._molds = molds
        self._totals = totals
        self._chronicle = chronicle
        self._feed = feed
        self._identity = identity
        self._oom_kills = exits.oom_kills()
        self.others: Callable[[], Mapping[int, Callable[[], None]]] = dict
        """Other children that are no strays, and what is to be done when one is found dead."""

    def take_on(self, process: Process) -> None:
        """Hear this worker, and see its end, from now on."""
        number = process.spawn.worker
        self.processes[number] = process
        self._loop.add_reader(process.pidfd, self._on_exit, number)
        self._loop.add_reader(process.channel.fileno(), self._on_message, number)

    def end(self, number: int, with_signal: signal.Signals) -> None:
        """Send a signal that ends this worker; nothing if it is gone. After SIGKILL it is heard no more."""
        process = self.processes.get(number)
        # A worker that could not be spawned has no process, and its WorkerExited is on its way.
        if process is None:
            return
        process.end(with_signal)
        if with_signal is signal.SIGKILL:
            self._loop.remove_reader(process.channel.fileno())

    # ── messages ──────────────────────────────────────────────────────────────────────────────────────

    def _on_message(self, number: int) -> None:
        process = self.processes.get(number)
        if process is None or process.condemned():
            return  # it is gone, or may say what it likes
        try:
            received = process.channel.receive()
        except PeerGoneError:
            self._loop.remove_reader(process.channel.fileno())
            self._loop.call_later(DEAF, self._on_deaf, number)
            return
        except ViolationError as error:
            self._feed(ev.Violated(number, str(error)))
            return
        if not process.allowance.take(len(received), self._loop.time()):
            how = f"it says more than {MOST_MESSAGES} things, and {MOST_PER_SECOND:g} a second"
            self._feed(ev.Violated(number, how))
            return
        for message, _ in received:
            if process.condemned():
                return
            if isinstance(message, Ready) and process.exited:
                # Ready and dead in one turn of the loop: nobody is to drain for a corpse.
                process.ready_too_late = True
                return
            if isinstance(message, Holds):
                process.holds = message.names
            self._feed(ev.Heard(number, message))

    def _on_deaf(self, number: int) -> None:
        """A second ago the worker's channel ended. Nearly always its process did, too."""
        process = self.processes.get(number)
        if process is not None:
            process.deaf = True
            process.end(signal.SIGTERM)
            self._feed(ev.Deaf(number))

    # ── exits ─────────────────────────────────────────────────────────────────────────────────────────

    def collect(self) -> None:
        """Take in every exit that is known to the kernel, in whatever order the loop would have."""
        waiting = select.poll()
        numbers = {process.pidfd: number for number, process in self.processes.items()}
        for pidfd in numbers:
            waiting.register(pidfd, select.POLLIN)
        for pidfd, _ in waiting.poll(0):
            self._on_exit(numbers[pidfd])

    def _on_exit(self, number: int) -> None:
        """The pidfd is readable: hear the worker's last words, reap it, tell the supervisor."""
        process = self.processes.get(number)
        if process is None:
            return  # it was reaped on another way
        self._loop.remove_reader(process.pidfd)
        process.exited = True
        self._on_message(number)
        # Never waits: it is up to a debugger when the status can be had, and nothing here may be.
        status = process.reap_now()
        self._let_go(number, status)
        how, clean = self._explain(process, status), status in (0, None)
        self._feed(ev.WorkerExited(number, how, clean=clean, ready=process.ready_too_late))

    def abandon(self, number: int) -> None:
        """Let go of a worker that is not gone although it was sent SIGKILL; nothing if it is.

        A tracer can hold it so (ptrace(2), PTRACE_O_TRACEEXIT), and a file system that does not answer. When
        it is gone after all it is reaped with the strays.
        """
        if number in self.processes:
            self._loop.remove_reader(self.processes[number].pidfd)
            self._let_go(number, None)

    def _let_go(self, number: int, status: int | None) -> None:
        process = self.processes.pop(number)
        self._loop.remove_reader(process.channel.fileno())
        self._loop.remove_writer(process.channel.fileno())
        process.close()
        # What is only counted and told must not keep the exit from being acted on.
        self._loop.attempt(partial(self._totals.leave, process.spawn.slot, process.spawn.desk))
        self._loop.attempt(partial(multiprocess.mark_dead, os.environ, process.pid, self._identity))
        self._loop.attempt(partial(self._chronicle.gone, status))

    def _explain(self, process: Process, status: int | None) -> str:
        slot, pid = process.spawn.slot, process.pid
        if status is None:
            return f"worker in slot {slot} (pid {pid}) is gone; how, the debugger that traces it knows"
        if process.ended_with is not None and status == -process.ended_with:
            return f"worker in slot {slot} (pid {pid}) is gone, ended by our {process.ended_with.name}"
        kills = self._loop.attempt(exits.oom_kills) if status == -signal.SIGKILL else self._oom_kills
        known = kills is not None and self._oom_kills is not None
        grew = known and kills != self._oom_kills
        self._oom_kills = kills
        return exits.explain(slot, pid, status, "yes" if grew else "no" if known else "unknown")

    def has(self, pid: int) -> bool:
        """Whether this is the pid of a worker, or of another child that is no stray."""
        return pid in self.others() or any(process.pid == pid for process in self.processes.values())

    def reap_strays(self) -> None:
        """Orphans become our children, ours and a container's: a zombie of somebody else's is reaped here."""
        # Not while a worker may be among them of whom we have not heard yet: `Molds` comes back to it.
        while not self._molds.expecting():
            # Anew each time: an exit that is acted on may have spawned a worker, which is no stray.
            known: dict[int, Callable[[], None]] = {
                process.pid: partial(self._on_exit, number) for number, process in self.processes.items()
            }
            known |= self._molds.pids()
            known |= self.others()
            dead = strays.reap(known)
            if not dead:
                return
            for pid in dead:
                known[pid]()
