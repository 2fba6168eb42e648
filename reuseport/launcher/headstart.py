"""The first mold's head start: it is executed before the launcher does anything else.

What a mold imports takes as long as all that the launcher has to do until workers can start, and on a
second CPU it goes on meanwhile. So it does not even wait until the command line is read: where that plainly
serves an application, the mold begins. If nobody wants it in the end (ahead.py), it is ended, and has done
nothing that the launcher has not: as the same user, and from the same places, it has imported what is ours.

Hence what is not imported here, where everybody waits: neither channels nor messages. What two processes have
to agree on (agreement.py) the launcher says when it knows it: in a packet of its own, before all messages.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
from collections.abc import Mapping, Sequence, Set

from reuseport import surroundings
from reuseport.launcher.becoming import (
    NOT_EXECUTED,
    aside,
    command_of,
    copied,
    go_back,
    let_go_of_descriptors,
    let_go_of_signals,
    worker_environment,
)
from reuseport.signals import GLANCE_SIGNAL, GROUP_SIGNALS, HEARD, STACKS_SIGNAL

FIRST_GENERATION = 1

_DOES_WITHOUT = ("--no-mold", "-u", "--user", "-g", "--group", "-h", "--help", "--version")
"""What a word begins with that asks for no mold, or for one that is not executed yet."""
VARIABLES = ("REUSEPORT_MOLD", "REUSEPORT_USER", "REUSEPORT_GROUP")
"""Whatever they say, the settings are read first."""


MOMENT = 1.0
"""Seconds in which it is gone, unless the kernel holds it."""


class HeadStart:
    """A mold that has begun, whose process and end of the channel are ours until somebody takes them."""

    def __init__(self, pid: int, pidfd: int, end: _socket.socket) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._end = end
        self._ours = True

    def take(self) -> tuple[int, int]:
        """From now on it is the caller's: its pidfd, and our end of the channel."""
        self._ours = False
        return self._pidfd, self._end.detach()

    def end(self) -> None:
        """End it, unless it was taken. Once or often, and before anybody else reaps children."""
        if not self._ours:
            return
        self._ours = False
        self._end.close()
        signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        gone = select.poll()
        gone.register(self._pidfd, select.POLLIN)
        if gone.poll(1000 * MOMENT):
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        os.close(self._pidfd)


def begun(words: Sequence[str]) -> HeadStart | None:
    """For a command line, if it is plain enough; None, too, where that fails: it is tried again later."""
    if not is_plain(words, os.environ) or surroundings.given.companions or surroundings.is_frozen():
        return None
    try:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    except OSError:
        return None
    try:
        pid, pidfd = copied(lambda held: _become(theirs, held))
    except OSError:
        ours.close()
        return None
    finally:
        theirs.close()
    return HeadStart(pid, pidfd, ours)


def is_plain(words: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether they begin with APP, and the rest leaves the first mold to us."""
    app = words[0] if words else ""
    return (
        ":" in app
        and not app.startswith("-")
        and not any(word.startswith(_DOES_WITHOUT) for word in words)
        and not any(name in environment for name in VARIABLES)
    )


def _become(end: _socket.socket, held: Set[int]) -> None:
    """In the new process: be the interpreter. Never returns."""
    try:
        # What the launcher acts on, or has others act on: ignored by who started us, it is so no more
        # (siginfo.hold), nor in what it executes.
        for number in HEARD:
            signal.signal(number, signal.SIG_DFL)
        let_go_of_signals({*held, *GROUP_SIGNALS, STACKS_SIGNAL, GLANCE_SIGNAL})
        let_go_of_descriptors(end.fileno())
        go_back()
        os.set_inheritable(end.fileno(), True)
        variables = {**worker_environment(os.environ), **surroundings.given.encoded()}
        variables["REUSEPORT_GENERATION"] = str(FIRST_GENERATION)
        # This imports, and may: there is no other thread yet (surroundings.begin_alone).
        command = command_of("reuseport.mold", surroundings.LATER, end.fileno(), os.getppid())
        os.execve(command[0], command, aside(variables))  # noqa: S606 - our own interpreter
    except OSError:
        pass  # it is executed again, or its workers are, and whatever is wrong is told then
    finally:
        os._exit(NOT_EXECUTED)
