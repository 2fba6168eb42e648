"""The signals that a worker is started with blocked, because launcher and workers have agreed on them."""

from __future__ import annotations

import signal

GROUP_SIGNALS = frozenset(
    {
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)
"""A terminal or a log rotation sends these to launcher and workers alike; the launcher alone acts on them.

A worker is executed with them blocked, and unblocks them when it has set handlers: their default would end
one that just starts.
"""

HEARD = frozenset({signal.SIGTERM, signal.SIGCHLD, *GROUP_SIGNALS})
"""What the launcher acts on."""

STACKS_SIGNAL: int = signal.SIGRTMIN + 5
"""A worker dumps the stacks of all its threads, as soon as it executes Python, and goes on. A real-time
signal, because applications use the others, and not the first few, which libraries take. Blocked, too, until
the worker is ready for it.
"""

GLANCE_SIGNAL: int = signal.SIGRTMIN + 6
"""A worker dumps the stack of its main thread, at once and whatever it executes, and goes on. As above."""


def shown_by_main() -> None:
    """For a thread of ours: the main thread is to be shown, and so it is to take these signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {STACKS_SIGNAL, GLANCE_SIGNAL})
