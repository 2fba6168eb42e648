"""Executing a module of ours in a fresh interpreter, and waiting for nothing meanwhile.

subprocess.Popen returns when the interpreter has been opened, and until then the launcher would stand still,
signals and all (vfork(2)): for as long as the file system does not answer, or for ever, if somebody stops the
process in that moment. So it is forked, and what fails from then on it says where later failures are said,
too: on its channel.

Between fork(2) and execve(2) it is a copy of the launcher. It lets go of everything first: what is sent to it
must not act on the launcher, nor keep open what the launcher closes (becoming.py).
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, NoReturn

from reuseport import surroundings
from reuseport.agreement import AGREEMENT
from reuseport.channel import Channel
from reuseport.errors import ConfigurationError
from reuseport.launcher.becoming import (
    NOT_EXECUTED,
    aside,
    command_of,
    copied,
    go_back,
    let_go_of_descriptors,
    let_go_of_signals,
)
from reuseport.messages import PACKET, TO_WORKER, Failed
from reuseport.settings.table import Settings
from reuseport.signals import GLANCE_SIGNAL, GROUP_SIGNALS, STACKS_SIGNAL

if TYPE_CHECKING:
    from reuseport.launcher.host.identity import Identity


HIGHEST_PID = 4_194_304
"""PID_MAX_LIMIT, include/linux/threads.h."""

_MAX_ARG_STRLEN = 32 * 4096
"""Bytes of a variable of the environment at most, with its name and the zero (execve(2))."""


class Execution:
    """A process from its fork until it is reaped, exactly once. Owns its pidfd until `close`."""

    def __init__(self, pid: int, pidfd: int | None = None) -> None:
        """`pid` is not reaped yet, so it is this process and no other; `pidfd` is ours, if there is one.

        Raises OSError (pidfd_open(2)).
        """
        self.pid = pid
        self.pidfd = os.pidfd_open(pid) if pidfd is None else pidfd
        self.closed = False
        self._status: int | None = None

    def send(self, number: int) -> None:
        """Send a signal; nothing if it is already gone, or has become somebody whom we may not end.

        It can: who executes a program with the set-user-ID bit is that user (kill(2)).
        """
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except (ProcessLookupError, PermissionError):
            return  # the pidfd says when it is gone; whoever does not go is left behind in the end

    def reap(self) -> int:
        """Wait for its exit status: the code, or the negative signal. Raises ChildProcessError."""
        status = self._reap(os.WEXITED)
        if status is None:
            raise RuntimeError("waitid(2) returned without an exit, and was not told WNOHANG")
        return status

    def reap_now(self) -> int | None:
        """The same without waiting. None although its pidfd is readable: somebody traces it (ptrace(2)), as
        debuggers do, and is told first, whenever that looks. We get a SIGCHLD then, and a stray to reap.
        """
        return self._reap(os.WEXITED | os.WNOHANG)

    def _reap(self, options: int) -> int | None:
        if self._status is None:
            ended = os.waitid(os.P_PIDFD, self.pidfd, options)
            if ended is not None:
                self._status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return self._status

    def end(self, patience: float) -> int:
        """SIGTERM, SIGKILL after `patience` seconds; its exit status. Waits, so not for workers; then closed.

        Raises as `reap`.
        """
        try:
            self.send(signal.SIGTERM)
            ending = select.poll()
            ending.register(self.pidfd, select.POLLIN)
            if not ending.poll(patience * 1000):
                self.send(signal.SIGKILL)
            return self.reap()
        finally:
            self.close()

    def close(self) -> None:
        """Close the pidfd."""
        self.closed = True
        os.close(self.pidfd)


def is_child(pid: int) -> bool:
    """Of ours, alive or not reaped yet (wait(2)). Of any number."""
    if not 0 < pid <= HIGHEST_PID:
        return False
    try:
        has_ended(pid)
    except ChildProcessError:
        return False
    return True


def has_ended(pid: int) -> bool:
    """Whether a child of ours has, which is not reaped by that. Raises ChildProcessError: it is none."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def refuse_what_does_not_fit(settings: Settings) -> None:
    """Raise ConfigurationError for more than a worker is handed, in a variable and in its Start message."""
    message = len(json.dumps(settings.to_json())) + 4096  # and the numbers beside them
    variable = max(map(len, surroundings.given.encoded().values())) + len(surroundings.VARIABLE) + 2
    for size, most, what in (
        (message, PACKET, "the settings"),
        (variable, _MAX_ARG_STRLEN, "command line and sys.path"),
    ):
        if size > most:
            raise ConfigurationError(
                f"{what} are too long for a worker to be told: {size} bytes, of {most}; give fewer or shorter"
                " values (--header, --reload-include …), or a shorter PYTHONPATH"
            )


def execute(
    module: str,
    arguments: Sequence[str],
    channel: socket.socket,
    environment: Mapping[str, str],
    identity: Identity | None = None,
) -> Execution:
    """Run `main` of a module of ours in a fresh interpreter like this one.

    It inherits one descriptor, the channel's, and begins in the directory we were started in, as ourselves
    or `identity`. Raises OSError (fork(2), pidfd_open(2)); what fails later comes as Failed.
    """
    environment = {**environment, **surroundings.given.encoded()}
    if identity is not None:
        environment.update(identity.environment())
    command = [*command_of(module, AGREEMENT, channel.fileno(), os.getpid()), *arguments]

    def become(held: Set[int]) -> NoReturn:
        blocked = {*held, *GROUP_SIGNALS, STACKS_SIGNAL, GLANCE_SIGNAL}
        _become(command, channel, environment, identity, blocked)

    return forked(become)


def forked(become: Callable[[Set[int]], NoReturn]) -> Execution:
    """As `copied`."""
    return Execution(*copied(become))


def _become(
    command: list[str],
    channel: socket.socket,
    environment: Mapping[str, str],
    identity: Identity | None,
    blocked: Set[int],
) -> NoReturn:
    """In the new process: be the interpreter, or say why not."""
    try:
        let_go_of_signals(blocked)
        let_go_of_descriptors(channel.fileno())
        go_back()
        if identity is not None:
            identity.take()
        os.set_inheritable(channel.fileno(), True)
        os.execve(command[0], command, aside(environment))  # noqa: S606 - our own interpreter
    except OSError as error:
        explained = None if identity is None else identity.explain(error)
        Channel(channel, TO_WORKER).send(Failed("operator", explained or str(error)))
    finally:
        os._exit(NOT_EXECUTED)
