"""Who waits, and for whom: clients in the accept queue of a worker whose event loop does not turn.

The launcher has a duplicate of every listener, and epoll(7) says of each whether somebody is in its queue; it
never accepts. Asked once for the first client that comes, then every LOOK seconds for as long as anybody
waits somewhere: an idle server costs nothing, a busy one no more than a look each LOOK seconds, however many
clients come.

A queue that is never empty says nothing: a busy worker's is like that. A worker is **stuck** if somebody was
in its queue at two looks and its heartbeat is the same: it has accepted nobody, for it beats with each.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable, Mapping

LOOK = 0.015
"""Seconds between two looks. A client waits for two at most, and what follows takes a few milliseconds."""


class Queues:
    """The accept queues of the slots that listen. Borrows the listeners, owns its epoll descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._slots: dict[int, int] = {}
        self._pulses: dict[int, int] = {}
        """Of those that had somebody waiting at the last look, their worker's heartbeat then."""

    def fileno(self) -> int:
        """For the event loop: readable while somebody waits anywhere."""
        return self._epoll.fileno()

    def watch(self, slot: int, listeners: Iterable[socket.socket]) -> None:
        """Look at these, too; again does nothing. They must listen: one that does not is always readable."""
        for listener in listeners:
            if listener.fileno() not in self._slots:
                self._epoll.register(listener, select.EPOLLIN)
                self._slots[listener.fileno()] = slot

    def forget(self) -> None:
        """Look at none any more: before the listeners are closed, or the kernel would go on without us."""
        for fd in self._slots:
            self._epoll.unregister(fd)
        self._slots.clear()
        self._pulses.clear()

    def look(self, pulses: Mapping[int, int]) -> frozenset[int] | None:
        """The slots whose worker is stuck, given the heartbeat of each slot's worker; None: nobody waits."""
        found = self._epoll.poll(0, max(1, len(self._slots)))
        waiting = {slot: pulses[slot] for fd, _ in found if (slot := self._slots[fd]) in pulses}
        stuck = frozenset(slot for slot, pulse in waiting.items() if self._pulses.get(slot) == pulse)
        self._pulses = waiting
        return stuck if found else None

    def close(self) -> None:
        """Let go of the epoll descriptor."""
        self._epoll.close()
