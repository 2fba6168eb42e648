"""How messages (messages.py) and descriptors travel between the launcher and one worker: either end of it.

A SOCK_SEQPACKET pair (unix(7)): one packet is one message, a JSON object whose "kind" names its class,
with descriptors as SCM_RIGHTS. Readiness is a message; death is the end of file.

When the other side dies
    before a message is sent     `send` drops it: the sender reads the end of file next, or its launcher
                                 sees the pidfd.
    while it is under way        the kernel keeps what was sent; who lives reads it before the end of
                                 file. What a dead worker never read, with its descriptors, is freed.
    after it                     the end of file is all there is to know.

A packet is never split or merged, so there is no half message. Neither end ever blocks: what the
socket's buffer has no room for waits in the channel, in order, and the owner's loop calls `flush`.
"""

from __future__ import annotations

import array
import collections
import errno
import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from reuseport.messages import KINDS, Message

PACKET = 192 * 1024
"""Bytes a message may have: below what net.core.wmem_max allows a send buffer by default, 208 KiB."""
MOST_DESCRIPTORS = 253
"""SCM_MAX_FD, include/net/scm.h."""

NOT_NOW = frozenset({errno.EAGAIN, errno.ETOOMANYREFS})
"""The buffer is full, or this user has as many descriptors under way as RLIMIT_NOFILE allows (unix(7))."""
NOBODY_READS = frozenset({errno.EPIPE, errno.ECONNRESET})
"""The peer is gone; its end is told elsewhere."""


class DescriptorsLostError(Exception):
    """A message came, its descriptors did not: none is free here (RLIMIT_NOFILE), the kernel dropped them."""


class PeerGoneError(Exception):
    """The other end is closed and everything it had sent has been read."""


class Channel:
    """One end. Owns its socket, and duplicates of the descriptors in messages that still wait."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._waiting: collections.deque[tuple[bytes, list[int]]] = collections.deque()

    @staticmethod
    def pair() -> tuple[Channel, socket.socket]:
        """The launcher's end, and the socket for the worker to inherit."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            # Whatever net.core.wmem_default is; the kernel doubles it, for its own bookkeeping (socket(7)).
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET)
        return Channel(ours), theirs

    def fileno(self) -> int:
        """For the event loop: readable when `receive` has something, writable when `flush` can go on."""
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Some messages wait for room in the socket's buffer."""
        return bool(self._waiting)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send, or keep for `flush`. The descriptors stay the caller's. A dead peer is no error here."""
        packet = json.dumps({"kind": type(message).__name__, **asdict(message)}).encode()
        if len(packet) > PACKET:
            raise ValueError(
                f"a {type(message).__name__} message of {len(packet)} bytes: {PACKET} is the limit"
            )
        if self._waiting or not self._try(packet, fds):
            self._waiting.append((packet, [os.dup(fd) for fd in fds]))

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting:
            packet, fds = self._waiting[0]
            if not self._try(packet, fds):
                return
            self._waiting.popleft()
            close_all(fds)

    def receive(self) -> list[tuple[Message, list[int]]]:
        """All messages that have come, each with its descriptors, which are the caller's from now on.

        Raises PeerGoneError at the end of file, and DescriptorsLostError.
        """
        received: list[tuple[Message, list[int]]] = []
        while True:
            try:
                packet, fds, flags = receive_packet(self._socket, PACKET, MOST_DESCRIPTORS)
            except BlockingIOError:
                return received
            except ConnectionResetError:
                # The peer closed without reading all we sent. The kernel says so once, and before
                # what the peer had sent (net/core/datagram.c, __skb_try_recv_datagram): read on.
                continue
            if not packet:
                if received:
                    return received  # the end of file stays readable, so the next call raises
                raise PeerGoneError
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                close_all(fds)
                raise DescriptorsLostError("no descriptor is free: raise ulimit -n")
            fields = json.loads(packet)
            received.append((KINDS[fields.pop("kind")](**fields), fds))

    def close(self) -> None:
        """Close this end, and drop what waits."""
        for _, fds in self._waiting:
            close_all(fds)
        self._waiting.clear()
        self._socket.close()

    def leave_open(self) -> None:
        """Leave this end to the kernel, which closes it with the process: not a moment before.

        An interpreter takes seconds to end on a busy machine, and an end of file long before the exit means
        that the application has closed our descriptors.
        """
        self._socket.detach()

    def _try(self, packet: bytes, fds: Sequence[int]) -> bool:
        """Whether the packet is off our hands: sent, or nobody is there to read it."""
        try:
            socket.send_fds(self._socket, [packet], list(fds))
        except OSError as error:
            if error.errno in NOT_NOW:
                return False
            if error.errno not in NOBODY_READS:
                raise
        return True


def receive_packet(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int], int]:
    """The next packet, its descriptors (close-on-exec, the caller's) and its flags. Raises as recvmsg(2).

    Not socket.recv_fds: it takes flags and passes none on, so what came would be inherited by everything
    the application executes, and a listener or a connection would outlive its worker there.
    """
    fds = array.array("i")
    room = socket.CMSG_LEN(most * fds.itemsize)
    packet, ancillary, flags, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            # What was cut short (MSG_CTRUNC) may end within a number.
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return packet, list(fds), flags


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
