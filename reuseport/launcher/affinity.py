"""What --sticky takes on the launcher's side: the table of keys, their secret, and each slot's session inbox.

A session inbox is a socket pair as the slot's inbox is: the launcher holds both ends and reads none, so a
request under way when either worker dies waits for the next reader. It is another one because its reader is
another: what waits there is for the slot's own worker, and no sibling may take it while that one lives.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from reuseport.keytable import KeyTable
from reuseport.settings.table import Settings

SECRET = 32
"""Bytes of the key that session keys are hashed with: whoever does not know it cannot aim at a place in the
table."""
ROOM = 1 << 20
"""Bytes that a session inbox is to hold, as far as net.core.wmem_max allows: some hundreds of requests."""
AT_ONCE = 200
"""Ways to slots that one message brings at most: SCM_MAX_FD is 253 (include/net/scm.h)."""


class Affinity:
    """For so many slots. Owns all of it."""

    def __init__(self, workers: int, slots: int) -> None:
        """There is room for `slots`, of which the first `workers` are about to be served. Raises OSError."""
        self.secret = os.urandom(SECRET).hex()
        self._inboxes: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._table = KeyTable.create(slots)
        with ExitStack() as undo:
            undo.callback(self.close)
            for slot in range(workers):
                # Before there is a worker: each is to know all others from its first request on.
                self.open(slot)
            undo.pop_all()

    def others(self, slot: int) -> list[int]:
        """The slots that a worker of this one can move requests to."""
        return [other for other in self._inboxes if other != slot]

    def open(self, slot: int) -> bool:
        """Make the slot's session inbox; whether there was none. Raises OSError (socketpair(2))."""
        if slot in self._inboxes:
            return False
        with ExitStack() as undo:
            receiving, sending = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            undo.enter_context(receiving)
            undo.enter_context(sending)
            sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
            undo.pop_all()
        self._inboxes[slot] = receiving, sending
        return True

    def own(self, slot: int) -> list[int]:
        """What a worker of this slot is to have: the table, and the end that it receives from."""
        return [self._table.fd, self.receiving(slot)]

    def receiving(self, slot: int) -> int:
        """Where requests moved to this slot come out."""
        return self._inboxes[slot][0].fileno()

    def sending(self, slot: int) -> int:
        """Where others put them."""
        return self._inboxes[slot][1].fileno()

    def close(self) -> None:
        """Let go of everything."""
        self._table.close()
        for ends in self._inboxes.values():
            for end in ends:
                end.close()
        self._inboxes.clear()


@contextmanager
def sticking(settings: Settings, workers: int, slots: int) -> Iterator[Affinity | None]:
    """What --sticky takes; None without it. Raises OSError at a limit."""
    if not settings.sticky:
        yield None
        return
    with closing(Affinity(workers, slots)) as affinity:
        yield affinity
