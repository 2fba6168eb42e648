"""The bond between a worker and its launcher: who starts, dies with the launcher; who serves, drains.

Until a worker is ready nobody depends on it, so the kernel may kill it the moment the launcher is gone
(PR_SET_PDEATHSIG, prctl(2)): an import that hangs cannot leave an orphan. A ready worker reads the end of
file on the channel and drains. What hangs even then ends itself: faulthandler's watchdog is a thread of the
C library that needs no interpreter lock, so neither a blocked event loop nor native code holds it up.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def tie(launcher: int) -> None:
    """From now on the kernel kills this process when the launcher dies."""
    _set_death_signal(signal.SIGKILL)
    # It may have died before the call above; then we belong to init or a subreaper already.
    if os.getppid() != launcher:
        sys.exit(0)


def loosen() -> None:
    """From now on the end of file on the channel tells, and clients are served to the end."""
    _set_death_signal(0)


def end_within(seconds: float) -> None:
    """Unless called again, dump all stacks to stderr and exit after so many seconds, whatever hangs."""
    faulthandler.dump_traceback_later(seconds, exit=True)


def _set_death_signal(number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
