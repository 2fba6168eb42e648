"""A request goes to another slot: one packet with its connection's descriptor and all that was read of it.

    when nobody reads yet    it waits in the slot's session inbox, which the launcher holds
    when there is no room    it stays, and is served here
    when we die meanwhile    before the packet is sent the request dies with us, afterwards it is none of ours

What is longer than a packet should be goes in a file that has no name (memfd_create(2)).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable

from reuseport.worker.passing import FULL, GONE, claim, sending_end, travels
from reuseport.worker.protocol.connection import Transferable

WITH, BESIDE = b"w", b"b"
"""The first byte of a packet: the request follows it, or is in the file that comes along."""
NAMED_WITH, NAMED_BESIDE = b"W", b"B"
"""The same, but first come two bytes with the length of what goes along with the connection, and that."""
SHORT = 8192
"""Bytes of a request that are sent in the packet itself."""
MOST = 512 * 1024
"""Bytes: twice what one read can bring. What is longer by the end of its head is served where it is."""


class Moving:
    """The ways to other slots. Owns the sending ends of their session inboxes."""

    def __init__(self) -> None:
        self._ways: dict[int, socket.socket] = {}

    def reach(self, slots: Iterable[int], fds: Iterable[int]) -> None:
        """There are ways to these slots, `fds`, which are ours from now on."""
        for slot, fd in zip(slots, fds, strict=True):
            if slot in self._ways:
                self._ways.pop(slot).close()
            self._ways[slot] = sending_end(fd)

    def send(self, connection: Transferable, slot: int, read: bytes) -> bool:
        """Send a connection there, of which `read` has been read; whether it went. Then it is let go."""
        way = self._ways.get(slot)
        if way is None or not claim(connection):
            return False
        try:
            descriptor = connection.transport.get_extra_info("socket").fileno()
            _send(way, descriptor, travels(connection), read)
        except NoRoomError:
            connection.server_state.connections.add(connection)
            return False
        # Without shutdown(2), see passing.py.
        connection.transport.abort()
        return True

    def descriptors(self) -> Iterable[int]:
        """Of the ways."""
        return [way.fileno() for way in self._ways.values()]

    def close(self) -> None:
        """Nothing goes any more."""
        for way in self._ways.values():
            way.close()
        self._ways.clear()


class NoRoomError(Exception):
    """Nothing can be sent there now, for want of room, of a descriptor or of a reader."""


def _send(way: socket.socket, fd: int, along: bytes, read: bytes) -> None:
    """Raises NoRoomError, and OSError for what is a defect."""
    file = None if len(read) <= SHORT else _file(read)
    try:
        kind = WITH if file is None else BESIDE
        named = [kind.upper(), len(along).to_bytes(2, "big"), along] if along else [kind]
        if file is None:
            socket.send_fds(way, [*named, read], [fd])
        else:
            socket.send_fds(way, named, [fd, file])
    except OSError as error:
        if error.errno in FULL | GONE:
            raise NoRoomError from error
        raise
    finally:
        if file is not None:
            os.close(file)


def _file(read: bytes) -> int:
    """A file that holds it, the caller's."""
    try:
        file = os.memfd_create("reuseport-request", os.MFD_CLOEXEC)
    except OSError as error:  # EMFILE, ENFILE, ENOMEM: there is no other reason (memfd_create(2))
        raise NoRoomError from error
    try:
        left = memoryview(read)
        while left:
            left = left[os.write(file, left) :]
    except OSError as error:  # ENOMEM, ENOSPC
        os.close(file)
        raise NoRoomError from error
    return file
