"""What this kernel does for us, found out by trying: version numbers lie about patched and walled-in kernels.

Every question has three answers, because a host out of descriptors says nothing about its kernel.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from reuseport.errors import HostError
from reuseport.kernel.plan import Words
from reuseport.kernel.steering import Steering
from reuseport.records import record

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


@record(frozen=True)
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


@record(frozen=True)
class Ladder:
    """How high we stand, and the answers that put us there."""

    steers: Answer
    migrates: Answer

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
    """Ask both questions. A few milliseconds, and a socket on 127.0.0.1 that nobody else knows."""
    return Ladder(can_steer(), migrates_by_sysctl())


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
