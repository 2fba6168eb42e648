"""The first steps of every process the launcher executes: arguments, signals, the Start message."""

from __future__ import annotations

import argparse
import faulthandler
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType
from typing import TypeAlias

from reuseport.agreement import objection
from reuseport.channel import Channel, PeerGoneError
from reuseport.messages import TO_WORKER, Failed, Start, ToWorker
from reuseport.signals import GLANCE_SIGNAL, GROUP_SIGNALS, STACKS_SIGNAL
from reuseport.worker import bond

NOT_BEGUN = 3
"""The exit status of a worker that never became ready."""


def tied(arguments: Sequence[str]) -> tuple[argparse.Namespace, socket.socket]:
    """Tie our life to the launcher's: what we were told, and our end of the channel."""
    parser = argparse.ArgumentParser(description="Started by the reuseport launcher, never by hand.")
    parser.add_argument("--agreement", default="unknown/unknown")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--launcher", type=int, required=True)
    parser.add_argument("--slot")
    parser.add_argument("--generation")
    # A launcher of another version may say more than we know.
    options, _ = parser.parse_known_args(arguments)
    bond.tie(options.launcher)
    _take_signals()
    # It had to be inheritable to come to us; what the application executes must not have it as well.
    os.set_inheritable(options.channel, False)
    return options, socket.socket(fileno=options.channel)


def _take_signals() -> None:
    # Handlers, not SIG_IGN: what the application executes must not inherit deafness.
    for number in GROUP_SIGNALS:
        signal.signal(number, _leave_it_to_the_launcher)
    # Blocked, a write to a terminal that we are in the background of goes through, and a read fails; with a
    # handler both would be tried again without end (drivers/tty/tty_jobctrl.c, __tty_check_change). Without a
    # terminal there is no such thing, and what the application executes need not inherit it.
    background = {signal.SIGTTIN, signal.SIGTTOU} if _has_terminal() else set[signal.Signals]()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS - background)
    # SIGABRT, which the launcher sends to who hangs, now dumps the stacks of all threads first.
    faulthandler.enable()


Begun: TypeAlias = tuple[Channel[ToWorker], Start, list[int]]
"""The channel, the order, its descriptors."""


def begin(arguments: Sequence[str]) -> Begun:
    """The first steps of a worker that is executed: learn what to do."""
    options, end = tied(arguments)
    channel = Channel(end, TO_WORKER)
    if (why := objection(options.agreement)) is not None:
        # Before anything is read: we might take it for something else.
        channel.send(Failed("operator", why))
        sys.exit(NOT_BEGUN)
    return _ordered(channel)


def begin_forked(end: socket.socket, launcher: int) -> Begun:
    """Of one that is forked, when the launcher is its parent, or is gone. Signals are as they were before."""
    bond.tie(launcher)
    return _ordered(Channel(end, TO_WORKER))


def _ordered(channel: Channel[ToWorker]) -> Begun:
    # Not select(2), which knows no descriptor above 1023: the launcher of many workers has higher ones.
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    waiting.poll()
    try:
        # What follows is for who serves.
        [(order, fds)] = channel.receive(1)
    except PeerGoneError:
        sys.exit(0)
    if not isinstance(order, Start):
        raise TypeError(f"the first message is Start, not {order!r}")
    if fds:
        # Whatever the worker hangs in from now on, its import included.
        _show_stacks(fds[2])
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {STACKS_SIGNAL, GLANCE_SIGNAL})
    return channel, order, fds


def _show_stacks(file: int) -> None:
    """Where we stand, for who sends the signals.

    The main thread is shown at once, in the signal handler, whatever the interpreter is doing. The others are
    not: a handler does not hold the interpreter lock, and the frames of a thread that runs meanwhile are no
    place to walk. All are shown by a handler of Python's, with the lock, when the interpreter gets to it.
    """
    faulthandler.register(GLANCE_SIGNAL, file=file, all_threads=False)

    def show_all(_number: int, _frame: FrameType | None) -> None:
        faulthandler.dump_traceback(file=file, all_threads=True)

    signal.signal(STACKS_SIGNAL, show_all)
    # Not every library begins again what a signal has interrupted.
    signal.siginterrupt(STACKS_SIGNAL, False)


def _has_terminal() -> bool:
    """Whether our session has one (tty(4)): ENXIO if not."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _leave_it_to_the_launcher(_number: int, _frame: FrameType | None) -> None:
    pass
