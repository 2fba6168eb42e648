"""Passing one idle connection to another slot's inbox: its descriptor is sent, ours closed, nobody notices.

What is sent has left: the launcher holds the inbox, so whichever of the two workers dies now, the connection
waits there for the next reader. What is not sent stays ours, and goes on being served.
"""

from __future__ import annotations

import errno
import socket

from reuseport.scoreboard import Desk, add
from reuseport.worker.protocol.connection import Transferable

FULL = frozenset({errno.EAGAIN, errno.ETOOMANYREFS})
"""The other has not read yet: its inbox holds no more, or the kernel allows no more descriptors under way
(as many as RLIMIT_NOFILE, unix(7)). Both pass."""

GONE = frozenset({errno.EPIPE, errno.ECONNRESET})
"""Nobody holds the receiving end any more, so not even the launcher lives."""


class NobodyReadsError(Exception):
    """Nobody will ever take up what is sent there."""


def pass_on(connection: Transferable, inbox: socket.socket, desk: memoryview[int]) -> bool:
    """Pass on a connection that is idle; whether the inbox had room for it. Raises NobodyReadsError."""
    try:
        socket.send_fds(inbox, [b"c"], [connection.transport.get_extra_info("socket").fileno()])
    except OSError as error:
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
