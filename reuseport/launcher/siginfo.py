"""Signals to the launcher, read from a descriptor with who sent them: signalfd(2).

They are blocked from the first moment that one could leave something half done, and never unblocked: what
comes before the loop runs waits for it, and what comes after its end changes nothing about the exit. So there
is no window in which one kills us; and nobody who had them blocked or ignored makes us deaf by starting us.

Blocked, SIGTTOU lets us write to a terminal that has `tostop`, and a read in the background fails instead of
stopping us (drivers/tty/tty_jobctrl.c, __tty_check_change). What a process of our group causes in that way
still comes to us, and is told apart from somebody's wish by its code.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct

from reuseport.records import record
from reuseport.signals import HEARD

FROM_TERMINAL = frozenset({signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP})
"""What the kernel sends for a terminal: one of our group reads or writes in the background, or it is gone."""

_SI_KERNEL = 0x80  # include/uapi/asm-generic/siginfo.h
_NONBLOCK, _CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC  # SFD_*, include/uapi/linux/signalfd.h
_SIGSET = 128
"""Bytes of a sigset_t, in glibc as in musl."""
_INFO = struct.Struct("=IiiI112x")
"""struct signalfd_siginfo: ssi_signo, ssi_errno, ssi_code, ssi_pid; 128 bytes."""
_AT_ONCE = 64


@record(frozen=True, slots=True)
class Came:
    """A signal, and the process that sent it; 0 is the kernel."""

    number: signal.Signals
    code: int
    sender: int

    def by_kernel(self) -> bool:
        """Nobody sent it: a terminal has caused it."""
        return self.code == _SI_KERNEL


def hold() -> None:
    """From now on they wait. For the main thread, before there is another, which would get them instead."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    for number in HEARD:
        # A child would inherit SIG_IGN for ever, and with it for SIGCHLD there would be no exit status.
        signal.signal(number, signal.SIG_DFL)


class Signals:
    """What has come since `hold`. Owns its descriptor."""

    def __init__(self) -> None:
        """Raises OSError (signalfd(2))."""
        libc = ctypes.CDLL(None, use_errno=True)
        mask = ctypes.create_string_buffer(_SIGSET)
        libc.sigemptyset(mask)
        for number in HEARD:
            libc.sigaddset(mask, int(number))
        self._fd: int = libc.signalfd(-1, mask, _NONBLOCK | _CLOEXEC)
        if self._fd < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def fileno(self) -> int:
        """For the event loop: readable when `read` has something."""
        return self._fd

    def read(self) -> list[Came]:
        """Those that have come; of several of a kind perhaps only one (signal(7))."""
        try:
            content = os.read(self._fd, _AT_ONCE * _INFO.size)
        except BlockingIOError:
            return []
        return [
            Came(signal.Signals(number), code, sender)
            for number, _, code, sender in _INFO.iter_unpack(content)
        ]

    def close(self) -> None:
        """What still comes waits for ever."""
        os.close(self._fd)
