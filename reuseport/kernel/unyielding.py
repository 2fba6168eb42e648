"""System calls that keep the interpreter lock, and an alarm that wakes a thread only when it is late.

Python's own calls let go of the lock around each system call, and a thread that waits for a busy one gets it
back a whole switch interval later (sys.getswitchinterval): for calls that never block that is 5 ms instead of
one microsecond. ctypes.PyDLL keeps it.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import socket
import struct

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.recv.restype = ctypes.c_ssize_t
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_libc.pread.restype = ctypes.c_ssize_t
_libc.pread.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long)
_libc.fcntl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
_libc.sendmsg.restype = ctypes.c_ssize_t
_libc.timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

_TFD_CLOEXEC = os.O_CLOEXEC  # include/uapi/linux/timerfd.h
_BILLION = 1_000_000_000


def unread(fd: int) -> bool:
    """Whether the socket holds bytes that nobody has read yet: an end of file alone is none (recv(2))."""
    byte = ctypes.create_string_buffer(1)
    return int(_libc.recv(fd, byte, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)) > 0


def read_anew(fd: int, most: int) -> bytes:
    """The file from its beginning, which must never have to be waited for. Raises OSError (pread(2))."""
    room = ctypes.create_string_buffer(most)
    size = int(_libc.pread(fd, room, most, 0))
    if size < 0:
        raise _error()
    return room.raw[:size]


def duplicate(fd: int) -> int:
    """Another descriptor for the same socket, the caller's, close-on-exec. Raises OSError (fcntl(2))."""
    copy = int(_libc.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0))
    if copy < 0:
        raise _error()
    return copy


class _Part(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr (sendmsg(2))."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("parts", ctypes.POINTER(_Part)),
        ("parts_number", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


def send_descriptor(sock: int, packet: bytes, fd: int) -> None:
    """Send one packet with one descriptor, which stays the caller's. Raises OSError (sendmsg(2))."""
    # struct cmsghdr: length, level, kind; one int behind it is aligned on every ABI of Linux.
    size = array.array("i").itemsize
    head = struct.pack("@Nii", socket.CMSG_LEN(size), socket.SOL_SOCKET, socket.SCM_RIGHTS)
    control = (head + struct.pack("@i", fd)).ljust(socket.CMSG_SPACE(size), b"\0")
    part = _Part(packet, len(packet))
    message = _Message(None, 0, ctypes.pointer(part), 1, control, len(control), 0)
    if _libc.sendmsg(sock, ctypes.byref(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL) < 0:
        raise _error()


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


class Alarm:
    """A timer that a thread waits for and another keeps pushing back (timerfd_create(2)). Owns a descriptor.

    To push it back wakes nobody and costs a microsecond; a lock or a condition would have to be released for
    that, which wakes the thread each time.
    """

    def __init__(self) -> None:
        self._fd = int(
            _libc.timerfd_create(1, _TFD_CLOEXEC)
        )  # CLOCK_MONOTONIC; Python has the call from 3.13 on
        if self._fd < 0:
            raise _error()

    def fileno(self) -> int:
        """Its descriptor."""
        return self._fd

    def set(self, seconds: float) -> None:
        """Ring once, so many seconds from now; what was set before does not ring any more."""
        nanoseconds = max(1, round(seconds * _BILLION))  # 0 would switch it off
        # struct itimerspec: no interval, then when.
        when = struct.pack("@4l", 0, 0, nanoseconds // _BILLION, nanoseconds % _BILLION)
        if _libc.timerfd_settime(self._fd, 0, when, None) < 0:
            raise _error()

    def wait(self) -> None:
        """Until it rings. Without the interpreter lock."""
        os.read(self._fd, 8)

    def close(self) -> None:
        """Nobody waits any more."""
        os.close(self._fd)
