"""Locks on names, each held by an open file description (fcntl(2), F_OFD_SETLK; Linux 3.15).

A lock belongs to what open(2) made, not to a process: whoever has a duplicate of the descriptor has the lock,
a second open of the same file has it not, and the kernel releases it with the last duplicate, however its
holder ended. Rejected: lockf(3), whose locks a process loses as soon as it closes any descriptor of the file.

A name is one byte of the file, which may be empty (locks may lie beyond its end). Where is said by a hash of
62 bits, so there is no table that somebody would have to keep, or could spoil: that two of a thousand names
meet has a chance of 1 in 10**13.
"""

from __future__ import annotations

import errno
import fcntl
import struct

_FLOCK = struct.Struct("@hhqqi0q")
"""struct flock with offsets of 64 bits: type, whence, start, length, pid, which is 0 for these locks."""

_HELD_BY_ANOTHER = frozenset({errno.EAGAIN, errno.EACCES})


def place(name: str) -> int:
    """The byte that stands for this name."""
    # Here: it loads OpenSSL, which the launcher of a server without names does without.
    import hashlib

    # off_t is signed, and the byte after it must be one, too.
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()) >> 2


def take(fd: int, at: int) -> bool:
    """Lock this byte now, or not at all: False if another description has it. Raises OSError.

    `fd` is open for writing. What this description has already, it gets again.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, at))
    except OSError as error:
        if error.errno not in _HELD_BY_ANOTHER:
            raise
        return False
    return True


def release(fd: int, at: int) -> None:
    """Let go of this byte; nothing, if this description does not have it. Raises OSError."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, at))


def is_taken(fd: int, at: int) -> bool:
    """Whether another description than this one has it. Raises OSError."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, at))
    kind: int = _FLOCK.unpack(found)[0]
    return kind != fcntl.F_UNLCK


def _flock(kind: int, at: int) -> bytes:
    return _FLOCK.pack(kind, 0, at, 1, 0)
