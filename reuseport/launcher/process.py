"""One worker process as the launcher holds it: its pidfd, its end of the channel, its exit status.

The launcher owns the pidfd, the channel and the file for its stacks until `close`. The child inherits one
descriptor, the other end of the channel; every other descriptor comes to it in a message.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Mapping

from reuseport.channel import Channel
from reuseport.launcher.becoming import worker_environment
from reuseport.launcher.deciding.events import Spawn
from reuseport.launcher.execution import Execution, execute
from reuseport.launcher.host.identity import Identity
from reuseport.messages import ToLauncher

MOST_MESSAGES = 200
"""That a worker may say at once; in all its life it has a handful to say, and one for each SIGTERM."""
MOST_PER_SECOND = 20.0
"""And from then on."""


class Allowance:
    """How much a worker may still say: what it has not used grows back."""

    def __init__(self, most: int, per_second: float) -> None:
        self._most = most
        self._per_second = per_second
        self._left = float(most)
        self._at = 0.0

    def take(self, messages: int, now: float) -> bool:
        """Whether it may say so many; `now` is in seconds."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second) - messages
        self._at = now
        return self._left >= 0


class Process:
    """A spawned worker. Every exit is reaped exactly once, by `reap` or `reap_now`."""

    def __init__(self, spawn: Spawn, channel: Channel[ToLauncher], execution: Execution, stacks: int) -> None:
        self.spawn = spawn
        self.channel = channel
        self.pid = execution.pid
        self.pidfd = execution.pidfd
        self.stacks = stacks
        """The file it dumps its stacks into; it has a duplicate."""
        self.allowance = Allowance(MOST_MESSAGES, MOST_PER_SECOND)
        self.exited = False
        """The pidfd has said so."""
        self.ready_too_late = False
        """It had said that it is ready, which was heard together with its end."""
        self.deaf = False
        """Its end of the channel is closed, although it lives."""
        self.holds: tuple[str, ...] = ()
        """The names that it says it holds (only_one)."""
        self.ended_with: signal.Signals | None = None
        """The last signal the launcher itself sent to end it."""
        self._execution = execution

    @classmethod
    def start(cls, spawn: Spawn, environment: Mapping[str, str], identity: Identity | None = None) -> Process:
        """Execute a fresh interpreter as the worker. Raises as `execute`, and as `Expected`."""
        expected, theirs = Expected.of(spawn)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(expected.close)
            execution = execute(
                "reuseport.worker",
                ["--slot", str(spawn.slot), "--generation", str(spawn.generation)],
                theirs,
                {
                    **worker_environment(environment),
                    "REUSEPORT_SLOT": str(spawn.slot),
                    "REUSEPORT_GENERATION": str(spawn.generation),
                },
                identity,
            )
            undo.pop_all()
        return expected.born(execution)

    def end(self, with_signal: signal.Signals) -> None:
        """Send a signal that ends the worker; nothing if it is already gone."""
        self.ended_with = with_signal
        self._execution.send(with_signal)

    def condemned(self) -> bool:
        """It was sent SIGKILL: whatever it still says, nobody wants to know."""
        return self.ended_with is signal.SIGKILL

    def send(self, number: int) -> None:
        """Send a signal that it survives; nothing if it is already gone."""
        self._execution.send(number)

    def reap(self) -> int:
        """Wait for its exit status: the code, or the negative signal."""
        return self._execution.reap()

    def reap_now(self) -> int | None:
        """The same when the pidfd is readable; None: a debugger has it first."""
        return self._execution.reap_now()

    def close(self) -> None:
        """Close the pidfd, the channel and the file."""
        self._execution.close()
        os.close(self.stacks)
        self.channel.close()


class Expected:
    """A worker without a process yet. Owns its channel and the file of its stacks until `born` or `close`."""

    def __init__(self, spawn: Spawn, channel: Channel[ToLauncher], stacks: int) -> None:
        self.spawn = spawn
        self._channel = channel
        self._stacks = stacks

    @classmethod
    def of(cls, spawn: Spawn) -> tuple[Expected, socket.socket]:
        """And the worker's end of the channel. Raises OSError (socketpair(2), memfd_create(2))."""
        channel, theirs = Channel.pair()
        try:
            stacks = os.memfd_create("reuseport-stacks", os.MFD_CLOEXEC)
        except OSError:
            channel.close()
            theirs.close()
            raise
        return cls(spawn, channel, stacks), theirs

    def ask_who(self) -> None:
        """It is forked by somebody who need not be believed."""
        self._channel.ask_who()

    def who(self) -> int | None:
        """The pid of who has said that it is this worker; None: nobody has. Once."""
        return self._channel.who()

    def born(self, execution: Execution) -> Process:
        """It has a process, which owns everything from now on."""
        return Process(self.spawn, self._channel, execution, self._stacks)

    def close(self) -> None:
        """It is not to be. If it is born after all, it reads the end of file and exits."""
        self._channel.close()
        os.close(self._stacks)
