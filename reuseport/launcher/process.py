"""One worker process as the launcher holds it: its pidfd, its end of the channel, its exit status.

The launcher owns the pidfd and the channel until `close`. The child inherits one descriptor, the other
end of the channel; every other descriptor comes to it in a message.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from reuseport.channel import GROUP_SIGNALS, Channel
from reuseport.errors import ReuseportError
from reuseport.launcher.events import Spawn
from reuseport.launcher.identity import Identity

_NOT_FOR_WORKERS = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
)
"""What the service manager says to the launcher alone (sd_notify(3), sd_listen_fds(3))."""


class Process:
    """A spawned worker. Every exit is reaped exactly once, by `reap`."""

    def __init__(self, spawn: Spawn, channel: Channel, popen: subprocess.Popen[bytes]) -> None:
        self.spawn = spawn
        self.channel = channel
        self.pid = popen.pid
        # Not reaped yet, so the pid is still this process and no other.
        self.pidfd = os.pidfd_open(popen.pid)
        self.exited = False
        """The pidfd has said so."""
        self.ended_with: signal.Signals | None = None
        """The last signal the launcher itself sent to end it."""
        self._popen = popen

    @classmethod
    def start(cls, spawn: Spawn, environment: Mapping[str, str], identity: Identity | None = None) -> Process:
        """Execute a fresh interpreter as the worker. Raises as `execute`, and OSError (pidfd_open(2))."""
        channel, theirs = Channel.pair()
        with theirs:
            try:
                popen = execute(
                    "reuseport.worker",
                    ["--slot", str(spawn.slot), "--generation", str(spawn.generation)],
                    theirs.fileno(),
                    {
                        **worker_environment(environment),
                        "REUSEPORT_SLOT": str(spawn.slot),
                        "REUSEPORT_GENERATION": str(spawn.generation),
                    },
                    identity,
                )
            except (OSError, ReuseportError):
                channel.close()
                raise
            try:
                return cls(spawn, channel, popen)
            except OSError:
                # Without a pidfd nobody would see its end. It has served nobody yet.
                popen.kill()
                popen.wait()
                channel.close()
                raise

    def end(self, with_signal: signal.Signals) -> None:
        """Send a signal that ends the worker; nothing if it is already gone."""
        self.ended_with = with_signal
        try:
            signal.pidfd_send_signal(self.pidfd, with_signal)
        except ProcessLookupError:
            return  # it exited by itself: the pidfd is readable and says so

    def reap(self) -> int:
        """Its exit status: the code, or the negative signal. Call when the pidfd is readable."""
        return self._popen.wait()

    def close(self) -> None:
        """Close the pidfd and the channel."""
        os.close(self.pidfd)
        self.channel.close()


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The launcher's environment without what is meant for the launcher alone."""
    return {name: value for name, value in environment.items() if name not in _NOT_FOR_WORKERS}


def execute(
    module: str,
    arguments: Sequence[str],
    channel: int,
    environment: Mapping[str, str],
    identity: Identity | None = None,
) -> subprocess.Popen[bytes]:
    """Run a module of ours in a fresh interpreter like this one, with one inherited descriptor.

    As ourselves, or as `identity`. Raises OSError (fork(2), execve(2)), ConfigurationError for an interpreter
    that is closed to the identity.
    """
    uid, gid, groups = None, None, None
    if identity is not None:
        uid, gid, groups = identity.uid, identity.gid, identity.groups
        environment = {**environment, **identity.environment()}
    # The interpreter's own flags (-O, -W, -X …) go on to the child: what multiprocessing does, too.
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    command = [sys.executable, *flags, "-m", module]
    held = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        return subprocess.Popen(
            [*command, "--channel", str(channel), "--launcher", str(os.getpid()), *arguments],
            env=dict(environment),
            pass_fds=(channel,),
            cwd=Path.cwd(),
            user=uid,
            group=gid,
            extra_groups=groups,
        )
    except OSError as error:
        if identity is not None:
            identity.explain(error)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
