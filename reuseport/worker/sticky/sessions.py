"""What the protocols ask of --sticky, and what is counted of it, in the worker's desk.

Each request with a key counts once:

    hit     it came to the slot that it belongs to
    moved   it went there
    missed  it was served elsewhere: its slot's worker is away, the session inbox full or out of reach; or it
            cannot be moved (pipelined, output waits, a head that is too long); or a sibling has taken it out
            of the inbox of a slot whose worker is gone
"""

from __future__ import annotations

from collections.abc import Iterable

from reuseport.scoreboard import Desk
from reuseport.worker.protocol.connection import Transferable
from reuseport.worker.protocol.count import Application
from reuseport.worker.protocol.kept import quiet
from reuseport.worker.sticky.answers import Remembering
from reuseport.worker.sticky.homes import Homes
from reuseport.worker.sticky.keys import Headers, Keys
from reuseport.worker.sticky.moving import Moving


class Sessions:
    """One worker's. In the event loop only. Owns the ways to other slots."""

    def __init__(self, keys: Keys, homes: Homes, desk: memoryview[int]) -> None:
        self.keys = keys
        self.homes = homes
        self.own = homes.own
        self._desk = desk
        self._moving = Moving()
        # Not read back: somebody else may have written there.
        self._counts = {Desk.STICKY_HITS: 0, Desk.STICKY_MOVED: 0, Desk.STICKY_MISSED: 0}

    def reach(self, slots: Iterable[int], fds: Iterable[int]) -> None:
        """The launcher tells the ways to these slots; `fds` are ours from now on."""
        slots = list(slots)
        self._moving.reach(slots, fds)
        self.homes.reach(slots)

    def elsewhere(self, headers: Headers, url: bytes, movable: bool) -> int | None:
        """The slot that a request is to be moved to, None if it is served here: then it is counted."""
        key = self.keys.asked(headers, url)
        if key is None:
            return None
        home = self.homes.of(key)
        if home == self.own:
            self._count(Desk.STICKY_HITS)
        elif home is None or not movable:
            self.miss()
        else:
            return home
        return None

    def move(self, connection: Transferable, slot: int, read: bytes) -> bool:
        """Move a request there, all of which that was read is `read`; whether it went, counted either way."""
        # What the client has not yet read of the last answer is in our transport, and cannot go along.
        moved = quiet(connection.transport) and self._moving.send(connection, slot, read)
        self._count(Desk.STICKY_MOVED if moved else Desk.STICKY_MISSED)
        return moved

    def miss(self) -> None:
        """A request that belongs elsewhere is served here."""
        self._count(Desk.STICKY_MISSED)

    def around(self, app: Application) -> Remembering:
        """The application, with what it answers remembered."""
        return Remembering(app, self)

    def descriptors(self) -> Iterable[int]:
        """Not for a forked child to keep."""
        return self._moving.descriptors()

    def close(self) -> None:
        """Nothing is moved any more."""
        self._moving.close()

    def _count(self, word: Desk) -> None:
        self._counts[word] += 1
        self._desk[word] = self._counts[word]
