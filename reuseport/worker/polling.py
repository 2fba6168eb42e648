"""How the event loop waits: its epoll instance, and listeners for which it wakes only if nobody else does."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import socket

from reuseport.kernel.waking import wait_alone, wait_no_more

TRIES = 10
"""Turns of the loop: uvloop registers a descriptor when it waits next, so two."""

log = logging.getLogger("uvicorn.error")


def on_uvloop(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is uvloop's, or made of it."""
    return any(kind.__module__.partition(".")[0] == "uvloop" for kind in type(loop).__mro__)


def epoll_of(loop: asyncio.AbstractEventLoop) -> int | None:
    """The descriptor of the loop's epoll instance, the loop's own; None where we know of none."""
    if on_uvloop(loop):
        number: int = loop._get_backend_id()  # type: ignore[attr-defined]
        return number
    selector = getattr(loop, "_selector", None)
    return selector.fileno() if isinstance(selector, selectors.EpollSelector) else None


class Exclusive:
    """A listener that the loop accepts from already: from now on a connection wakes us or somebody else.

    Until `end`, before the loop lets go of the listener. Owns a duplicate of it where there is one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, epoll: int, listener: socket.socket) -> None:
        """Raises OSError."""
        self._loop = loop
        self._epoll = epoll
        self._loops_own = listener.fileno()
        self._watched = copy = os.dup(self._loops_own)
        try:
            wait_alone(epoll, copy, self._loops_own, once=False)
        except OSError:
            os.close(copy)
            raise
        if on_uvloop(loop):
            # A registration with the flag cannot be changed, and libuv ends the process where it tries to: so
            # it never meets ours.
            self._take_over(TRIES)
        else:
            # asyncio does meet it, for when no descriptor is free it must be able to look away for a second.
            wait_no_more(epoll, self._loops_own)
            wait_alone(epoll, self._loops_own, self._loops_own, once=False)
            self._watched = self._loops_own
            wait_no_more(epoll, copy)
            os.close(copy)

    def _take_over(self, tries: int) -> None:
        if self._watched >= 0 and not wait_no_more(self._epoll, self._loops_own) and tries:
            self._loop.call_soon(self._take_over, tries - 1)

    def fileno(self) -> int:
        """Of the duplicate; -1 where there is none, or no more."""
        return -1 if self._watched == self._loops_own else self._watched

    def end(self) -> None:
        """A connection does not wake us any more. Once or often."""
        watched, self._watched = self._watched, -1
        if watched >= 0:
            wait_no_more(self._epoll, watched)
        if watched not in (-1, self._loops_own):
            os.close(watched)
