"""Passing one idle connection to another slot's inbox: its descriptor is sent, ours closed, nobody notices.

What is sent has left: the launcher holds the inbox, so whichever of the two workers dies now, the connection
waits there for the next reader. What is not sent stays ours, and goes on being served.

Two threads pass connections on: the loop's, and the rescue's while the loop does not turn (`rescue`). Both
take one out of the set of open connections first, which only one of them can.
"""

from __future__ import annotations

import errno
import socket

from reuseport.scoreboard import Desk, add
from reuseport.worker.protocol.connection import Transferable

PASSED, RESCUED = b"c", b"r"
"""What goes along with a descriptor: a packet of nothing would be an end of file."""

FULL = frozenset({errno.EAGAIN, errno.ETOOMANYREFS})
"""The other has not read yet: its inbox holds no more, or the kernel allows no more descriptors under way
(as many as RLIMIT_NOFILE, unix(7)). Both pass."""

GONE = frozenset({errno.EPIPE, errno.ECONNRESET})
"""Nobody holds the receiving end any more, so not even the launcher lives."""


class NobodyReadsError(Exception):
    """Nobody will ever take up what is sent there."""


def travels(connection: Transferable) -> bytes:
    """What goes along with a connection: who its client is, if that cannot be asked of its socket."""
    return getattr(connection, "travels", b"")


def claim(connection: Transferable) -> bool:
    """Take it out of the set of open connections, to pass it on or put it back; whether it was there.

    `set.remove` of objects that compare by identity runs no Python: no other thread sees half of it.
    """
    try:
        connection.server_state.connections.remove(connection)
    except KeyError:
        return False
    return True


def pass_on(connection: Transferable, inbox: socket.socket, desk: memoryview[int]) -> bool:
    """Pass on a connection that is idle; whether it went: the inbox had room. Raises NobodyReadsError."""
    if not claim(connection):
        return False  # rescued, and about to be let go
    try:
        socket.send_fds(
            inbox, [PASSED, travels(connection)], [connection.transport.get_extra_info("socket").fileno()]
        )
    except OSError as error:
        connection.server_state.connections.add(connection)
        if error.errno in GONE:
            raise NobodyReadsError from error
        if error.errno not in FULL:
            raise
        add(desk, Desk.HANDOFFS_REFUSED)
        return False
    add(desk, Desk.HANDOFFS_SENT)
    # Closes our descriptor and no more: without shutdown(2) the connection lives in its duplicate.
    connection.transport.abort()
    return True


def sending_end(fd: int) -> socket.socket:
    """The end of an inbox that a message brought, which is the returned socket's from now on."""
    inbox = socket.socket(fileno=fd)
    inbox.setblocking(False)
    return inbox
