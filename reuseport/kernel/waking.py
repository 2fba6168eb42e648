"""Waiting for a listener so that a connection wakes one of many: EPOLLEXCLUSIVE (epoll_ctl(2), Linux 4.5).

An event loop waits for its descriptors in an epoll instance, and every one that is registered there wakes it.
With this flag the kernel goes through those who wait for a listener in the order in which they came, puts the
event down for each, and stops behind the first who sleeps: that one alone is woken (fs/eventpoll.c,
ep_poll_callback; kernel/sched/wait.c, __wake_up_common). Who does not sleep finds the event when it looks
next, before it sleeps, and only if it is still true. So who came first is woken whenever it has nothing to
do, the second only while the first is busy, and nobody if all are.

Neither event loop knows of the flag, so it is set behind its back, on its own instance: for a duplicate of
the listener, told as an event of a descriptor that the loop has registered. What the loop does with its own
registration meets no duplicate, and the kernel answers "not there" (ENOENT), which both loops put up with.
An event can be told once (EPOLLET), or for as long as it is true.
"""

from __future__ import annotations

import ctypes
import os
import platform
import select

_libc = ctypes.CDLL(None, use_errno=True)
_ADD, _DELETE = 1, 2  # include/uapi/linux/eventpoll.h


class _Event(ctypes.Structure):
    """struct epoll_event, of which both loops use the descriptor: packed on one architecture only."""

    if platform.machine() == "x86_64":
        _pack_ = 1
    _fields_ = (("events", ctypes.c_uint32), ("data", ctypes.c_uint64))


def wait_alone(epoll: int, listener: int, told_as: int, *, once: bool) -> None:
    """From now on a connection at the listener is an event of `told_as`, if nobody before us sleeps.

    If somebody is in its queue, it is one at once. `once`: each connection is told once at most. `listener`
    must not be registered there yet. Raises OSError.
    """
    events = select.EPOLLIN | select.EPOLLEXCLUSIVE | (select.EPOLLET if once else 0)
    _control(epoll, _ADD, listener, _Event(events & 0xFFFFFFFF, told_as))


def wait_no_more(epoll: int, descriptor: int) -> bool:
    """Take it out of the instance, however it was registered; whether it was. Raises OSError.

    To close it is not enough: the registration ends with the listener, which others hold.
    """
    try:
        _control(epoll, _DELETE, descriptor, _Event())
    except FileNotFoundError:
        return False
    return True


def _control(epoll: int, operation: int, descriptor: int, event: _Event) -> None:
    if _libc.epoll_ctl(epoll, operation, descriptor, ctypes.byref(event)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
