"""What this kernel does for us, found out by trying: version numbers lie about patched and walled-in kernels.

Every question has three answers, because a host out of descriptors says nothing about its kernel.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reuseport.errors import HostError
from reuseport.kernel.plan import Words
from reuseport.kernel.steering import Steering

_MIGRATE_REQ = Path("/proc/sys/net/ipv4/tcp_migrate_req")

# A probe's own scoreboard: as long as its words are zero, no slot is live.
_WORDS = Words(row=8, fence=0, serving_desk=1, assigned=2, heartbeat=0, load=1, accepted=2)
_LATE_NS, _STALE_NS = 25_000_000, 1_000_000_000

# A handshake on the loopback interface is over within microseconds, unless the machine is very busy.
_PATIENCE = 1.0

# By hash alone all of them would go to the right one of two listeners once in 65,536 probes.
_TRIES = 8


class Verdict(enum.Enum):
    """What became of the attempt."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "could not tell"


@dataclass(frozen=True)
class Answer:
    """A verdict, and the reason in a few words for one line of a log."""

    verdict: Verdict
    reason: str

    def __str__(self) -> str:
        return f"{self.verdict.value}: {self.reason}"


class Level(enum.IntEnum):
    """The ladder: what the kernel does with connections. Each level has what is below it."""

    HASHED = 0
    MIGRATING = 1
    STEERED = 2


@dataclass(frozen=True)
class Ladder:
    """How high we stand, and the answers that put us there. `wakes` is about the level we stand on."""

    steers: Answer
    migrates: Answer
    wakes: Answer

    @property
    def level(self) -> Level:
        if self.steers.verdict is Verdict.YES:
            return Level.STEERED
        return Level.MIGRATING if self.migrates.verdict is Verdict.YES else Level.HASHED

    @property
    def reason(self) -> str:
        """One line: what the level means, and what keeps us from a higher one."""
        match self.level:
            case Level.STEERED:
                return "steered: the kernel gives each connection to a live slot, and migrates on close"
            case Level.MIGRATING:
                return f"migrating: by hash, and the kernel migrates on close; {self.steers.reason}"
            case Level.HASHED:
                return f"hashed: by hash alone; {self.steers.reason}; {self.migrates.reason}"


def climb() -> Ladder:
    """Ask all three questions. A few milliseconds, and sockets on 127.0.0.1 that nobody else knows."""
    steers, migrates = can_steer(), migrates_by_sysctl()
    if steers.verdict is Verdict.YES:
        return Ladder(steers, migrates, wakes_after_migration(_steered))
    return Ladder(steers, migrates, wakes_after_migration(contextlib.nullcontext))


def can_steer() -> Answer:
    """Can we load a steering program and attach it to a listener?"""
    try:
        with _listener() as listener, _steered(listener):
            return Answer(Verdict.YES, "a steering program was loaded and attached")
    except HostError as error:
        return Answer(Verdict.NO, str(error))
    except OSError as error:
        return Answer(Verdict.UNKNOWN, f"trying a steering program failed: {error.strerror}")


def migrates_by_sysctl() -> Answer:
    """Does this network namespace migrate without a program? Linux 5.14 and later (ip-sysctl.rst)."""
    try:
        on = _MIGRATE_REQ.read_text(encoding="ascii").strip() == "1"
    except FileNotFoundError:
        return Answer(Verdict.NO, "net.ipv4.tcp_migrate_req does not exist; it needs Linux 5.14 or later")
    except OSError as error:
        return Answer(Verdict.UNKNOWN, f"net.ipv4.tcp_migrate_req cannot be read: {error.strerror}")
    if on:
        return Answer(Verdict.YES, "net.ipv4.tcp_migrate_req is 1")
    return Answer(Verdict.NO, "net.ipv4.tcp_migrate_req is 0")


def prefers_cpu() -> Answer:
    """Does a group prefer the listener of the CPU on which a connection comes in (SO_INCOMING_CPU)?

    Tried by connecting from two CPUs over the loopback interface, which stays on the sender's.
    """
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        return Answer(Verdict.UNKNOWN, "with a single CPU there is nothing to prefer")
    try:
        return _prefers(sorted(allowed)[:2])
    except OSError as error:
        return Answer(Verdict.UNKNOWN, f"trying SO_INCOMING_CPU failed: {error.strerror}")
    finally:
        os.sched_setaffinity(0, allowed)


def _prefers(cpus: Sequence[int]) -> Answer:
    with contextlib.ExitStack() as cleanup:
        listeners: list[socket.socket] = []
        for cpu in cpus:
            port = listeners[0].getsockname()[1] if listeners else 0
            listener = cleanup.enter_context(_listener(port))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_INCOMING_CPU, cpu)
            listeners.append(listener)
        for cpu, listener in zip(cpus, listeners, strict=True):
            os.sched_setaffinity(0, {cpu})
            for _ in range(_TRIES):
                with socket.create_connection(listener.getsockname(), _PATIENCE):
                    try:
                        listener.accept()[0].close()
                    except BlockingIOError:
                        return Answer(
                            Verdict.NO, "this kernel does not heed SO_INCOMING_CPU in a group; Linux 6.2 does"
                        )
    return Answer(Verdict.YES, "the kernel prefers the listener of the CPU on which a connection comes in")


_Prepared = Callable[[socket.socket], contextlib.AbstractContextManager[object]]


def wakes_after_migration(prepared: _Prepared) -> Answer:
    """Does a listener that inherits a waiting connection wake its epoll (CVE-2026-46015)?

    If not, survivors must look into their queues themselves after any listener has closed. `prepared` makes
    the group of a listener migrate, for as long as it is open: `nullcontext` where the sysctl is on.
    """
    try:
        return _wakes(prepared)
    except (OSError, HostError) as error:
        return Answer(Verdict.UNKNOWN, f"trying a migration failed: {error}")


def _wakes(prepared: _Prepared) -> Answer:
    with contextlib.ExitStack() as cleanup:
        leaver = cleanup.enter_context(_listener())
        cleanup.enter_context(prepared(leaver))
        # It waits with the one listener there is, and only then a second one joins the group.
        client = cleanup.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        client.settimeout(_PATIENCE)
        client.connect(leaver.getsockname())
        if not _readable(cleanup, leaver).poll(_PATIENCE):
            return Answer(Verdict.UNKNOWN, "the connection for the attempt did not arrive")
        heir = cleanup.enter_context(_listener(leaver.getsockname()[1]))
        events = _readable(cleanup, heir)
        # The kernel migrates before close(2) returns (net/ipv4/inet_connection_sock.c, inet_csk_listen_stop).
        leaver.close()
        woken = bool(events.poll(0))
        try:
            heir.accept()[0].close()
        except BlockingIOError:
            return Answer(Verdict.UNKNOWN, "connections are not migrated here")
    if woken:
        return Answer(Verdict.YES, "a migrated connection wakes its new listener")
    return Answer(Verdict.NO, "a migrated connection does not wake its new listener (CVE-2026-46015)")


@contextlib.contextmanager
def _steered(listener: socket.socket) -> Iterator[None]:
    """Have a program choose for the listener's group. It finds no live slot and leaves it to the hash."""
    with contextlib.closing(Steering.create(1, 1, "least-loaded", _LATE_NS, _STALE_NS, _WORDS)) as steering:
        steering.attach(listener, 0, 0)
        yield


def _listener(port: int = 0) -> socket.socket:
    with contextlib.ExitStack() as undo:
        listener = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        undo.pop_all()
    return listener


def _readable(cleanup: contextlib.ExitStack, listener: socket.socket) -> select.epoll:
    events = cleanup.enter_context(select.epoll())
    events.register(listener, select.EPOLLIN)
    return events
