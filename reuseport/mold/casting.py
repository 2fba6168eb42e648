"""One fork: a worker that is the launcher's own child, though the mold has made it.

fork(2) twice. The process in between exits at once, and its orphan goes to the nearest subreaper, which the
launcher is (PR_SET_CHILD_SUBREAPER, prctl(2)): so the launcher sees its end and how it ended, as if it had
started the worker itself. Rejected: CLONE_PARENT, which does it in one step, but behind the back of the C
library and of the interpreter, whose own bookkeeping at a fork would be missing.

What the standard library and applications do at a fork (os.register_at_fork) happens at both. It may take for
ever, so until the worker has said who it is each of the two ends with whoever has forked it: nothing is left
of a mold that is killed for not answering.

The worker says who it is before it is anybody's orphan: when the launcher hears of its birth, it has said so.
"""

from __future__ import annotations

import errno
import os
import struct
import warnings

from reuseport.channel import say_who
from reuseport.worker import bond

_PID = struct.Struct("=i")

_forking = 0
"""Our pid while we fork; to who is forked it is its parent's."""


def _be_tied() -> None:
    if _forking:
        try:
            bond.tie(_forking)
        except SystemExit:
            os._exit(0)


# The first of all that are called, for this is imported before any application.
os.register_at_fork(after_in_child=_be_tied)


def _fork() -> int:
    global _forking  # noqa: PLW0603 - what is called at a fork gets no argument
    _forking = os.getpid()
    try:
        return os.fork()
    finally:
        _forking = 0


def cast(end: int) -> int | None:
    """Fork a worker, whose end of its channel this is. In the mold its pid, once it is the launcher's child;
    in the worker None.

    Raises OSError (fork(2), pipe(2)): then there is no worker.
    """
    receiving, sending = os.pipe()
    try:
        with warnings.catch_warnings():
            # From 3.12 on of any thread. Those that there may be are known (obstacles.py).
            warnings.simplefilter("ignore", DeprecationWarning)
            between = _fork()
    except OSError:
        os.close(receiving)
        os.close(sending)
        raise
    if between == 0:
        os.close(receiving)
        if _fork_and_tell(sending, end):
            os._exit(0)
        os.close(sending)
        return None
    os.close(sending)
    try:
        said = os.read(receiving, _PID.size)
    finally:
        os.close(receiving)
        # A zombie has given its children away before it is one (kernel/exit.c, exit_notify).
        os.waitpid(between, 0)
    if len(said) < _PID.size:
        why = "it ended at once: what is called at a fork may have done that (os.register_at_fork)"
        raise OSError(errno.ECHILD, why)
    pid = _PID.unpack(said)[0]
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    return int(pid)


def _fork_and_tell(sending: int, end: int) -> bool:
    """In the process in between: whether this is still it, and not the worker. Never raises there.

    It tells the pid, or the negative errno.
    """
    try:
        told, telling = os.pipe()
        pid = _fork()  # of a process that has one thread
    except OSError as error:
        os.write(sending, _PID.pack(-(error.errno or 1)))
        return True
    if pid == 0:
        os.close(told)
        bond.loosen()
        try:
            say_who(end)
        except OSError:  # nobody listens: it is not wanted any more
            os._exit(0)
        os.close(telling)
        return False
    os.close(telling)
    os.write(sending, _PID.pack(pid))
    os.read(told, 1)  # nothing, when it has said so, or is gone
    return True
