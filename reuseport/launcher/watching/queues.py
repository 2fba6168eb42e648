"""Who waits, and for whom: clients in the accept queue of a worker whose event loop does not turn.

The launcher has a duplicate of every listener, and epoll(7) says of each whether somebody is in its queue; it
never accepts. Asked once for the first client that comes, then at intervals for as long as anybody waits
somewhere: an idle server costs nothing, a busy one no more than those looks, however many clients come.

A queue that is never empty says nothing: a busy worker's is like that. A worker is **stuck** if somebody has
been in its queue for a while and its heartbeat is still the same: it has accepted nobody, or it would have
beaten. How long a while depends on what could be won. With an idle worker to take them, those who wait lose
time by every look, and a worker that is helped in vain loses little. With none they would only change queues.

An inbox is a queue like any other: of connections that were passed to the slot.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable, Mapping

from reuseport.records import record


@record(frozen=True, slots=True)
class Pace:
    """Seconds: how long a worker may leave somebody waiting, between two looks while anybody waits, and after
    the last one that found nobody.
    """

    patience: float
    look: float
    rest: float


SLOW = Pace(patience=0.03, look=0.01, rest=0.01)
"""While all have something to do. A worker that is merely not scheduled, on a host with more to do than CPUs,
is back by then."""
QUICK = Pace(patience=0.004, look=0.002, rest=0.004)
"""While somebody has nothing to do."""


class Queues:
    """The accept queues of the slots that listen. Borrows the listeners, owns its epoll descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._slots: dict[int, int] = {}
        self._waiting: dict[int, tuple[int, float]] = {}
        """Of each slot that had somebody waiting at the last look: the heartbeat, and since when the same."""

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
        self._waiting.clear()

    def look(self, pulses: Mapping[int, int], now: float, patience: float) -> frozenset[int] | None:
        """The slots whose worker is stuck at `now`, given the heartbeat of each slot's worker.

        None: nobody waits anywhere.
        """
        found = self._epoll.poll(0, max(1, len(self._slots)))
        if not found:
            self._waiting.clear()
            return None
        waiting = {}
        for slot in {self._slots[fd] for fd, _ in found} & pulses.keys():
            pulse, since = self._waiting.get(slot, (None, now))
            waiting[slot] = (pulses[slot], since if pulse == pulses[slot] else now)
        self._waiting = waiting
        return frozenset(slot for slot, (_, since) in waiting.items() if now - since >= patience)

    def close(self) -> None:
        """Let go of the epoll descriptor."""
        self._epoll.close()
