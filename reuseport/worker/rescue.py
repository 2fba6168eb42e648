"""The rescue: a thread that hands a blocked event loop's waiting connections to a worker that turns.

It sleeps until the loop is late. Then it looks, for as long as the loop does not turn, who has asked on a
connection that is idle: nothing under way, nothing parsed, nothing to write. Such a connection goes to the
own slot's inbox, as in a handoff: whoever fosters the slot reads it there, or we ourselves when the loop
turns. A loop that is late because it answers many in one turn is busy, and one that the scheduler does not
run would not be helped: neither is blocked.

Two threads must never read one connection. These are the steps, and why they are safe in this order:

    pause    The loop's thread stands in a task's step (`standing`), so it polls and reads nothing, and
             `pause_reading` is what the step could call itself. Nothing more is read there, whatever was
             polled before. Asked for (`cr_running`) right before the call, with nothing in between at which
             the interpreter lock could change hands. On stock asyncio the call itself is Python, and the lock
             may change hands within it: the reader is then out of the selector, cancelled, or neither yet.
    look     Once more, now that it is paused: in a step again or still, the loop's thread has no read of this
             connection under way, and can begin none. From here on an idle connection stays idle.
    claim    Out of the set of connections, which only one can do: whoever passes it on there has to as well
             (`passing`). What is in the set has not been lost, so the copy made of its descriptor before is
             the connection's.
    send     The copy. What cannot be sent returns into the set.
    let go   When the loop turns: of what went, as after any handoff; what stayed is read again.

The lock is kept throughout, because it was gained a moment ago: who waits for it counts a whole switch
interval from then (Python/ceval_gil.c, take_gil), and a slice of this work is shorter. Nothing depends on
that, it only lets a slice succeed: a finalizer, a tiny interval or an unlucky scheduler makes one fail, at
the looks above.

Asleep while there is nothing to do: to be given the interpreter lock by a thread that computes takes five
switches of processes, and up to 0.4 ms of that one's CPU time where CPUs are short (bench/README.md).

Rejected: to take the descriptor out of the loop's epoll behind its back (what it has fetched already, it
reads; what it has queued, it registers), to raise the switch interval (this thread then waits for the lock as
long as any other), and to switch the garbage collector off meanwhile: an application that saves and restores
that switch, as timeit does, could find it off and leave it so.

Not rescued: what is encrypted, WebSockets, a request of which a byte was read, anything while native code
keeps the interpreter lock, or without such a lock (3.13t), and where no sibling's loop turns.

When this process dies: what was sent waits in the inbox, which the launcher holds. When nobody reads there:
our loop does, when it turns. When the application forks: the child has no such thread, and lets go of what
was sent (`offspring`).
"""

from __future__ import annotations

import asyncio
import math
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from reuseport.kernel.unyielding import Alarm, duplicate, read_anew, send_descriptor, unread
from reuseport.scoreboard import DESKS, Desk, Scoreboard, add
from reuseport.signals import shown_by_main
from reuseport.worker.passing import FULL, GONE, RESCUED, claim, sending_end, travels
from reuseport.worker.protocol.connection import State, Transferable, TransferableH11, TransferableHttpTools
from reuseport.worker.standing import can_tell, step, watched_over

LATE = 0.02
"""Seconds after which a heartbeat that is due is missing."""
SILENT = 0.03
"""Seconds, of those in which the scheduler let it run or it slept, without any sign of the loop."""
ALLOWANCE = 0.1
"""Seconds of waiting for a CPU that are forgiven at most: who works long on a busy host is blocked, too."""
SCHEDSTAT = "/proc/self/schedstat"
"""Its second figure (Documentation/scheduler/sched-stats.rst in the kernel's source)."""
FIGURES = 128
"""Bytes of it: there are three, of 64 bits at most."""
LOOK = 0.01
"""Seconds until the next look at who has asked and could not be rescued at the last one."""
FRESH = 0.2
"""Seconds between two lists of the connections: they change without a turn of the loop only within one."""

SLICE = 0.001
"""Seconds, where an application has made the switch interval so short that none could succeed."""
LONG = 1e6
"""Seconds until an alarm that is to be set anew before that."""
TURNED = 2.0
"""Seconds within which a sibling must have turned: at rest it does once in one."""

_HEARTBEAT, _ANSWERED = int(Desk.HEARTBEAT), int(Desk.DURATION_SUM)


class Rescue:
    """From `start` to `end`. Owns its thread, its alarm and the inbox's sending end."""

    def __init__(self, fd: int, state: State, desk: memoryview[int], helped: Callable[[], bool]) -> None:
        """`fd` is the sending end of the own slot's inbox; `helped` says whether anybody could foster us."""
        self._inbox = sending_end(fd)
        self._state = state
        self._desk = desk
        self._helped = helped
        self._gone: set[Transferable] = set()
        """Sent, and not let go: the loop has not turned."""
        self._ended = False
        self._overdue = 0
        """When the loop is late; monotonic nanoseconds, as all here."""
        self._waited = 0
        """For a CPU, until that heartbeat."""
        self._thread: threading.Thread | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch over the loop that this runs in, if it can be. Raises OSError."""
        if not can_tell(loop):
            return
        self._loop = loop
        self._loops_thread = threading.get_ident()
        self._alarm, self._waits = Alarm(), Waits()
        self._thread = threading.Thread(target=self._run, name="rescue", daemon=True)
        self._thread.start()

    def expect(self, seconds: float) -> None:
        """The loop's next heartbeat is due in so many seconds: late LATE after that. Infinity: never."""
        if self._thread is None:
            return
        now = time.monotonic_ns()
        if seconds == math.inf:
            self._overdue = now + int(LONG * 1e9)
            self._alarm.set(LONG)
            return
        self._waited = self._waits.so_far()
        self._overdue = now + int((seconds + LATE) * 1e9)
        self._alarm.set(seconds + LATE)

    def end(self) -> None:
        """Rescue nobody any more; once or often, in the loop's thread. What has been sent stays so."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ended = True
            self._alarm.set(0)
            thread.join()
            self._alarm.close()
            self._waits.close()
        self._inbox.close()

    def descriptors(self) -> Iterable[int]:
        """Of what is ours, and of connections that are others' already: not for a forked child to keep."""
        ours = () if self._thread is None else (self._alarm.fileno(), *self._waits.descriptors())
        return (self._inbox.fileno(), *ours, *map(_descriptor, self._gone))

    # ── in the thread ─────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        shown_by_main()
        self._alarm.wait()
        while not self._ended:
            overdue, done, now = self._overdue, self._done(), time.monotonic_ns()
            # Each answer is a heartbeat: who answers many in one turn is not silent.
            waited = min(self._waits.so_far() - self._waited, int(ALLOWANCE * 1e9))
            silent_at = max(overdue, done[0] + waited + int(SILENT * 1e9))
            if now < silent_at:
                self._alarm.set((silent_at - now) / 1e9)
                # If the loop has set it meanwhile, ours may have taken the place of what rings sooner.
                if self._overdue == overdue:
                    self._alarm.wait()
            else:
                self._stand_in(done)

    def _done(self) -> tuple[int, int]:
        """The last heartbeat, and what only grows with each answer."""
        return self._desk[_HEARTBEAT], self._desk[_ANSWERED]

    def _stand_in(self, done: tuple[int, int]) -> None:
        """Until the loop turns, or does anything else."""
        while not self._over(done):
            idle = self._idle_ones() if self._helped() else {}
            poll, alarm = select.poll(), self._alarm.fileno()
            for fd in (alarm, *idle):
                poll.register(fd, select.POLLIN)
            renew_at = time.monotonic() + FRESH
            # The alarm has rung. It will again when the loop has turned, which sets it, and is late anew.
            while (left := renew_at - time.monotonic()) > 0 and not self._over(done):
                ready = {fd for fd, _ in poll.poll(left * 1e3)}
                if alarm in ready and not self._over(done):
                    self._alarm.set(LONG)  # nobody reads it here
                asking = {fd: connection for fd, connection in idle.items() if fd in ready}
                if not asking or self._over(done):
                    continue
                settled = self._rescue(asking)
                for fd in settled:
                    poll.unregister(fd)
                if not settled:
                    time.sleep(LOOK)

    def _over(self, done: tuple[int, int]) -> bool:
        return self._ended or self._done() != done

    def _idle_ones(self) -> dict[int, Transferable]:
        """By descriptor."""
        return {
            _descriptor(connection): connection
            for connection in list(self._state.connections)
            if isinstance(connection, (TransferableHttpTools, TransferableH11)) and _idle(connection)
        }

    def _rescue(self, asking: Mapping[int, Transferable]) -> list[int]:
        """Those that can be; descriptors that need no further look: rescued, or not to be rescued at all."""
        slice_ends = time.monotonic() + max(SLICE, sys.getswitchinterval() / 2)
        in_step = None if watched_over() else step(self._loop, self._loops_thread)
        if in_step is None:
            return []
        done: list[int] = []
        paused: dict[int, Transferable] = {}
        for fd, connection in asking.items():
            if not _idle(connection) or _descriptor(connection) != fd or not unread(fd):
                done.append(fd)  # it was closed, here or by its client
                continue
            pause = connection.transport.pause_reading
            if time.monotonic() > slice_ends:
                break
            if in_step.cr_running:
                pause()
            else:
                break
            paused[fd] = connection
        if not paused:
            return done
        sent: list[Transferable] = []
        if step(self._loop, self._loops_thread) is not None:
            for fd, connection in paused.items():
                if _idle(connection) and self._send(connection, fd):
                    sent.append(connection)
                    done.append(fd)
        stayed = [connection for connection in paused.values() if connection not in sent]
        self._loop.call_soon_threadsafe(self._let_go, sent, stayed)
        return done

    def _send(self, connection: Transferable, fd: int) -> bool:
        """Send a paused, idle connection to our inbox; whether it went."""
        copy = duplicate(fd)
        try:
            if not claim(connection):
                return False
            try:
                send_descriptor(self._inbox.fileno(), RESCUED + travels(connection), copy)
            except OSError as error:
                self._state.connections.add(connection)
                if error.errno not in FULL | GONE:
                    raise
                return False
        finally:
            os.close(copy)
        self._gone.add(connection)
        add(self._desk, Desk.RESCUED)
        return True

    # ── in the loop again ─────────────────────────────────────────────────────────────────────────────

    def _let_go(self, sent: Sequence[Transferable], stayed: Sequence[Transferable]) -> None:
        for connection in sent:
            self._gone.discard(connection)
            connection.transport.abort()  # without shutdown(2): see passing.py
        for connection in stayed:
            if connection.transport.is_closing():
                self._state.connections.discard(connection)  # lost while it was claimed
            else:
                connection.transport.resume_reading()


class Waits:
    """How long this process's main thread was to run and did not. Owns a descriptor, where somebody counts.

    Kept open, for it is read with each heartbeat: two microseconds.
    """

    def __init__(self) -> None:
        try:
            self._fd = os.open(SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = -1
        try:
            self.so_far()
        except (OSError, IndexError, ValueError):  # something else is there than on Linux
            self.close()
            self._fd = -1

    def descriptors(self) -> Iterable[int]:
        """The one that is ours, if it is."""
        return () if self._fd < 0 else (self._fd,)

    def so_far(self) -> int:
        """Nanoseconds, ever; 0 where nobody counts."""
        return 0 if self._fd < 0 else int(read_anew(self._fd, FIGURES).split()[1])

    def close(self) -> None:
        """Look no more."""
        for fd in self.descriptors():
            os.close(fd)


def turning(scoreboard: Scoreboard, slot: int) -> bool:
    """Whether the event loop of a worker in any other slot has turned a moment ago."""
    since = time.monotonic_ns() - int(TURNED * 1e9)
    return any(
        scoreboard.word(other, desk, _HEARTBEAT) > since
        for other in range(scoreboard.slots)
        if other != slot
        for desk in range(DESKS)
    )


def _idle(connection: Transferable) -> bool:
    # On the books a moment before it has one.
    transport: asyncio.Transport | None = connection.transport
    return transport is not None and connection.idle()


def _descriptor(connection: Transferable) -> int:
    fd: int = connection.transport.get_extra_info("socket").fileno()
    return fd
