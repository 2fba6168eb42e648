"""The file on whose bytes workers hold locks (kernel/locks.py), one open of it for each worker.

Empty, and sealed: there is nothing in it to read or to spoil. A worker is sent an open file description of
its own and the launcher keeps no duplicate, so what a dead worker held, the kernel has released. By one that
we kept, whatever it took would be taken for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator

from reuseport.kernel import locks

log = logging.getLogger("reuseport")


class Exclusion:
    """Owns the file."""

    def __init__(self) -> None:
        """Raises OSError (memfd_create(2))."""
        self._fd = os.memfd_create("reuseport-only-one", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self._fd, fcntl.F_ADD_SEALS, seals)
        self._told = False

    @contextlib.contextmanager
    def opened(self) -> Iterator[list[int]]:
        """A fresh description of it, to be sent to one worker; none where that is not to be had."""
        try:
            # By its name in /proc: a duplicate would be the same description, and that is who holds a lock.
            fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("only_one() is not to be had in workers: no lock file: %s", error.strerror)
            yield []
            return
        try:
            yield [fd]
        finally:
            os.close(fd)

    def is_held(self, name: str) -> bool:
        """Whether some worker holds this name."""
        return locks.is_taken(self._fd, locks.place(name))

    def close(self) -> None:
        """Of no use any more."""
        os.close(self._fd)
