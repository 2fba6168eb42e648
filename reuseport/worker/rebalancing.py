"""Carries out the launcher's orders to pass connections to where less work waits; counts who is active.

A connection goes when it becomes idle after an answer, so only those go that bring load. An order lasts until
as many have gone as it says, or HEEDED seconds. Nothing is held back for it: what does not go is served here.

When we die before a connection goes, it dies with us, as any that we serve; once it has gone it is none of
ours. When the worker it goes to dies, before that or after: the inbox is the slot's and held by the launcher,
so a sibling or the successor takes the connection up; likewise when its event loop stands still. When the
launcher dies, or we are to leave, orders are forgotten: everybody drains, or what is idle goes to our heirs.
"""

from __future__ import annotations

import asyncio
import collections
import socket
import time
from dataclasses import dataclass

from reuseport.scoreboard import Desk, add
from reuseport.worker.passing import NobodyReadsError, pass_on, sending_end
from reuseport.worker.protocol.connection import State, Transferable

HEEDED = 1.0
"""Seconds for which an order is heeded: the launcher has other figures by then."""


@dataclass(slots=True, eq=False)
class _Order:
    inbox: socket.socket
    count: int


class Rebalancing:
    """Passes connections on while there are orders. Owns the inboxes' sending ends meanwhile."""

    def __init__(self, state: State, desk: memoryview[int]) -> None:
        self._state = state
        self._desk = desk
        self._orders: collections.deque[_Order] = collections.deque()

    def publish(self) -> None:
        """Tell how many connections are active; to be called every tenth of a second."""
        activity = self._state.activity
        activity.turn(time.monotonic(), self._state.total_requests)
        self._desk[Desk.ACTIVE] = activity.active

    def take(self, count: int, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        """Pass up to `count` connections to the inbox that `fd` is the sending end of, which is ours now."""
        self._loop = loop
        order = _Order(sending_end(fd), count)
        self._orders.append(order)
        self._state.on_idle = self._on_idle
        # Not at once when the time is over: a worker that is busy for so long in one turn of its loop has
        # connections that wait for `_offer` until the next, and those come first.
        loop.call_later(HEEDED, loop.call_soon, self._forget, order)

    def end(self) -> None:
        """Pass on nothing more."""
        for order in list(self._orders):
            self._forget(order)

    def _on_idle(self, connection: Transferable) -> None:
        """Its response is complete. uvloop writes at the end of its turn: until then output waits."""
        if not self._offer(connection):
            self._loop.call_soon(self._offer, connection)

    def _offer(self, connection: Transferable) -> bool:
        """Pass it on if it is idle, to each order's inbox in turn; whether it went."""
        if not self._orders or not connection.idle():
            return False
        order = self._orders[0]
        self._orders.rotate(-1)
        try:
            if not pass_on(connection, order.inbox, self._desk):
                return False
        except NobodyReadsError:
            self._forget(order)
            return False
        # At once: within one turn of the loop there may be seconds, and the launcher looks at both.
        self._state.activity.lose(connection)
        self._desk[Desk.ACTIVE] = self._state.activity.active
        add(self._desk, Desk.REBALANCED)
        order.count -= 1
        if not order.count:
            self._forget(order)
        return True

    def _forget(self, order: _Order) -> None:
        """Once or often."""
        if order in self._orders:
            self._orders.remove(order)
            order.inbox.close()
            if not self._orders:
                self._state.on_idle = None
