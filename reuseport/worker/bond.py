"""The bond between a worker and its launcher: who starts, dies with the launcher; who serves, drains.

Until a worker is ready nobody depends on it, so the kernel may kill it the moment the launcher is gone
(PR_SET_PDEATHSIG, prctl(2)): an import that hangs cannot leave an orphan. A ready worker reads the end of
file on the channel and drains.

What hangs even then is ended by a watch of its own: a thread that sleeps on the launcher's pidfd and then
sets faulthandler's timer, which needs no interpreter lock to fire. A timer that the event loop keeps pushing
back would do without the thread, but it also fires when the whole container was paused for long, and kills
the healthy. The price: native code that holds the interpreter lock for ever keeps the thread from setting it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import select
import signal
import sys
import threading

from reuseport.signals import shown_by_main

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


def tie(launcher: int) -> None:
    """From now on the kernel kills this process when the launcher dies."""
    _set_death_signal(signal.SIGKILL)
    # It may have died before the call above; then we belong to init or a subreaper already.
    if os.getppid() != launcher:
        sys.exit(0)


def loosen() -> None:
    """From now on the end of file on the channel tells, and clients are served to the end."""
    _set_death_signal(0)


class Watch:
    """Once the launcher is gone: dump all stacks and exit after `patience` seconds, whatever hangs."""

    def __init__(self, launcher: int, patience: float) -> None:
        """Raises OSError (pidfd_open(2))."""
        self._patience = patience
        self._gone = False
        pidfd = os.pidfd_open(launcher)
        threading.Thread(target=self._wait, args=(pidfd,), name="launcher-watch", daemon=True).start()

    def grant(self, patience: float) -> None:
        """From now on, so many seconds."""
        self._patience = patience
        if self._gone:
            self._set()

    def _wait(self, pidfd: int) -> None:
        shown_by_main()
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        gone.poll()
        # In this order, and `grant` in its own: whoever is later sees what the other has written.
        self._gone = True
        self._set()

    def _set(self) -> None:
        faulthandler.dump_traceback_later(self._patience, exit=True)


def _set_death_signal(number: int) -> None:
    if _libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
