"""What the application forks is not a worker: nothing of ours acts there.

fork(2) copies everything: handlers of signals, the descriptor that wakes the event loop, the epoll instance
it waits on, listeners and clients' connections. So a child that is terminated would tell our loop of it, one
that closes its copy of the loop would strike descriptors off ours, and one that lives long would keep
connections and listeners open that we have closed.

Whatever way it is forked: os.fork, multiprocessing, a subprocess with a preexec_fn. What is executed afresh
(spawn, forkserver) inherits nothing: our descriptors are close-on-exec, handlers end with the program.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import select
import signal
from collections.abc import Callable, Iterable

from reuseport.signals import GLANCE_SIGNAL, GROUP_SIGNALS, STACKS_SIGNAL
from reuseport.worker.polling import epoll_of

_OURS = ("reuseport.", "asyncio.", "uvloop.")
"""Modules whose handlers mean something in a worker only."""


def disown(loop: asyncio.AbstractEventLoop, descriptors: Callable[[], Iterable[int]]) -> None:
    """From now on, in each process that this one forks: take back the signals, let go of what `descriptors`
    says, in the child, and of the event loop, which stops if the child comes back into it.
    """
    ours = True

    def let_go() -> None:
        nonlocal ours
        if not ours:
            return  # a grandchild: what it has under these numbers is its own
        ours = False
        signal.set_wakeup_fd(-1)
        faulthandler.unregister(GLANCE_SIGNAL)
        for number in (signal.SIGTERM, *GROUP_SIGNALS, STACKS_SIGNAL):
            _take_back(number)
        _part(loop)
        _hollow(descriptors())
        loop.stop()

    os.register_at_fork(after_in_child=let_go)


def _take_back(number: int) -> None:
    """Python's own handler instead of ours. The application's stays; ours, behind it, knows its process."""
    handler = signal.getsignal(number)
    if callable(handler) and getattr(handler, "__module__", "").startswith(_OURS):
        default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)


def _part(loop: asyncio.AbstractEventLoop) -> None:
    """Give the loop an epoll instance of its own: what it strikes off there is nobody else's."""
    number = epoll_of(loop)
    if number is not None:
        with select.epoll() as fresh:
            os.dup2(fresh.fileno(), number, inheritable=False)


def _hollow(descriptors: Iterable[int]) -> None:
    """Let go of what they lead to. The numbers stay taken: objects that hold them will close them."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in set(descriptors):
        if descriptor >= 0:
            os.dup2(null, descriptor, inheritable=False)
    os.close(null)
