"""What a connection waits for, and since when: told by the look at all connections, at no cost to a request.

Nothing is noted when a request begins or goes on. A look asks each connection what it waits for from its
client, and for a sign by which the next look can tell whether that is still the same: the head that has
begun, the request whose body comes, the bytes that have not been taken. So time runs from the first look
that sees it, and what comes and goes between two looks is never seen.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import termios
from typing import Any, TypeAlias


class Waits(enum.Enum):
    """For what, if not for the application."""

    NOT = enum.auto()
    """For nothing that its client owes us."""
    ARRIVAL = enum.auto()
    """The first byte of its first request."""
    HEAD = enum.auto()
    """The rest of a request's headers."""
    BODY = enum.auto()
    """More of a request's body."""
    READING = enum.auto()
    """The client, to read what has been written."""
    REST = enum.auto()
    """The next request, after an answer: keep-alive."""
    FAREWELL = enum.auto()
    """The client's end, after our last word to it."""


Sign: TypeAlias = Any
"""By its identity, or an int."""

# An Enum's attribute takes longer than all else that a look does with most connections.
NOT, ARRIVAL, HEAD, BODY = Waits.NOT, Waits.ARRIVAL, Waits.HEAD, Waits.BODY
READING, REST, FAREWELL = Waits.READING, Waits.REST, Waits.FAREWELL

IS_SILENT: tuple[Waits, Sign] = ARRIVAL, None
RESTS: tuple[Waits, Sign] = REST, None
OWES_NOTHING: tuple[Waits, Sign] = NOT, None

_FOUR = bytes(4)


def untaken(transport: asyncio.Transport) -> int:
    """What the client has not acknowledged, in our buffer and the kernel's: a number that is another one as
    soon as it has taken anything (SIOCOUTQ, tcp(7); unix(7) has it as well).
    """
    try:
        fd = transport.get_extra_info("socket").fileno()
        kernels = int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, _FOUR), "little")
    except (OSError, AttributeError):  # it is being closed
        kernels = 0
    return transport.get_write_buffer_size() << 32 | kernels
