"""One worker takes part in --sticky: what its Start message brings for that, from its first moment on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from reuseport.keytable import KeyTable
from reuseport.messages import Start
from reuseport.scoreboard import Scoreboard
from reuseport.settings.table import Settings
from reuseport.worker.server import Server
from reuseport.worker.sticky.homes import Homes
from reuseport.worker.sticky.incoming import Incoming
from reuseport.worker.sticky.keys import Keys
from reuseport.worker.sticky.sessions import Sessions


class Sticky:
    """Owns the first `taken` of the descriptors: the table, the own session inbox, the ways to others'."""

    def __init__(self, settings: Settings, order: Start, fds: Sequence[int], scoreboard: Scoreboard) -> None:
        """Raises OSError (mmap(2))."""
        self.taken = 2 + len(order.ways)
        table, self._receiving, *ways = fds[: self.taken]
        self._table = table
        keys = Keys(settings.sticky, bytes.fromhex(order.secret))
        homes = Homes(KeyTable(table, order.slots), scoreboard, order.slot, order.desk)
        self._desk = scoreboard.desk(order.slot, order.desk)
        self.sessions = Sessions(keys, homes, self._desk)
        self.sessions.reach(order.ways, ways)

    def incoming(self, server: Server) -> Incoming:
        """The own session inbox, not yet open; it is the caller's."""
        self._server = server
        return Incoming(self._receiving, server, self._desk, self.sessions, self.sessions.own)

    def foster(self, fd: int, slot: int) -> Incoming:
        """That of a slot that we foster; `fd` and what is returned are the caller's."""
        fostered = Incoming(fd, self._server, self._desk, self.sessions, slot)
        fostered.open_as_foster(asyncio.get_running_loop())
        return fostered

    def descriptors(self) -> Iterator[int]:
        """Not for a forked child to keep."""
        yield from (self._table, self._receiving, *self.sessions.descriptors())
