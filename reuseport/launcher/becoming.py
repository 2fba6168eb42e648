"""What a copy of the launcher does before it is somebody else: let go of what is the launcher's.

Of all threads it has only the one that forked: it imports nothing and logs nothing, for who held a lock in
that moment is not there to release it. Few imports here: the first mold waits for them (headstart.py).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping, Set

from reuseport import surroundings
from reuseport.signals import HEARD

# Of a process, at most: fs.nr_open (Documentation/admin-guide/sysctl/fs.rst), unless somebody has raised it.
_MOST_DESCRIPTORS = 1024 * 1024

NOT_EXECUTED = 3
"""The exit status of a copy that could not be: a worker's that never became ready. It is told of like the end
of any mold, and workers are executed instead."""

_NOT_FOR_WORKERS = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "REUSEPORT_SSL_KEYFILE_PASSWORD",
)
"""What the service manager says to the launcher alone (sd_notify(3), sd_listen_fds(3)), and our secret."""

# Not -m, which would import from the current directory before anything of ours runs, and would not find us
# where only the launcher's own script knows that we are there (pex, shiv, zipapp). What an interpreter has
# without importing a file reads from where it may, and from then on `worker.afresh` says what happens.
FIRST_LINES = (
    f"import posix, sys; back = posix.environ.get(b'{surroundings.BACK}'); "
    "back and (posix.fchdir(int(back)), posix.close(int(back))); "
    f"it = eval(posix.environ[b'{surroundings.VARIABLE}']); "
    "sys.path[:] = [it['home'], *it['own']]; "
    "from reuseport.worker.afresh import run; run(it, sys.argv.pop(1))"
)


_IMPORTS_FIRST = sys.version_info >= (3, 13)
"""-c imports linecache before the first line, and what that imports."""


def copied(become: Callable[[Set[int]], object]) -> tuple[int, int]:
    """A copy of the launcher that becomes somebody else at once: its pid, and its pidfd, the caller's.

    `become` is told the signals that whoever started us had blocked. Raises OSError (fork(2), pidfd_open(2)).
    """
    # All, until the copy has no handler of ours any more.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            become(held - HEARD)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        # Nobody could ever stop it.
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def command_of(module: str, agreement: str, channel: int, launcher: int) -> list[str]:
    """What executes a module of ours, with what each of them is told (worker/begin.py)."""
    interpreter = [] if surroundings.is_frozen() else [*surroundings.flags(), "-c", FIRST_LINES]
    ends = ["--agreement", agreement, "--channel", str(channel), "--launcher", str(launcher)]
    return [sys.executable, *interpreter, module, *ends]


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The launcher's environment without what is meant for the launcher alone."""
    return {name: value for name, value in environment.items() if name not in _NOT_FOR_WORKERS}


def go_back() -> None:
    """To the directory by the name that the operator has for it: its link may lead elsewhere by now.

    Before the identity changes, to whom the way there may be closed. If it is gone we stay in what it was.
    """
    if surroundings.given.directory:
        with contextlib.suppress(OSError):
            os.chdir(surroundings.given.directory)


def aside(environment: Mapping[str, str]) -> dict[str, str]:
    """Go to a directory that only root writes to, until the first line goes back. The environment for it.

    What is imported before would be a project's token.py, say. To be called as who executes it: a directory
    that he cannot go back to he cannot import from either. Not where Python was told to look from where it
    is, for somebody's sitecustomize.
    """
    searched = environment.get("PYTHONPATH", "/").split(os.pathsep)
    relative = not all(map(os.path.isabs, searched))
    allowed = os.access(".", os.X_OK, effective_ids=True)
    if not _IMPORTS_FIRST or surroundings.is_frozen() or relative or not allowed:
        return dict(environment)
    back = os.open(".", os.O_PATH | os.O_DIRECTORY)
    os.set_inheritable(back, True)
    os.chdir("/")
    return {**environment, surroundings.BACK: str(back)}


def let_go_of_signals(blocked: Set[int]) -> None:
    """Have the handlers that every program has, and these signals blocked."""
    # execve(2) does away with handlers, but until then each would write into the launcher's wakeup pipe. What
    # is ignored stays so for ever: the first two are by the interpreter, the others by who started us.
    for number in signal.valid_signals():
        if number in (signal.SIGPIPE, signal.SIGXFSZ) or callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def let_go_of_descriptors(*kept: int) -> None:
    """All but the standard streams and `kept`, whether they are close-on-exec or not.

    By close_range(2), or where Python was built without it one by one, as many as can be open.
    Without /proc, which a jail may not have.
    """
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _MOST_DESCRIPTORS)
