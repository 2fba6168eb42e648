"""How messages (messages.py) and descriptors travel between the launcher and one worker: either end of it.

A SOCK_SEQPACKET pair (unix(7)): one packet is one message (packets.py), with descriptors as SCM_RIGHTS.
Readiness is a message; death is the end of file. The launcher's end takes no descriptors: it has no room for
any, so the kernel closes what comes before it returns (net/core/scm.c, scm_detach_fds).

When the other side lies or floods
    what is none of the alphabet's, or brings descriptors that it may not, raises ViolationError, once read;
    what comes faster than it is read waits in the socket's buffer: `receive` takes a turn's worth at a time.

Who is at the other end, a worker that was forked says first of all (`say_who`), and the kernel adds its pid,
which nobody can forge (SCM_CREDENTIALS, unix(7)). So the launcher need not believe whoever has forked it.

When no descriptor is free (RLIMIT_NOFILE)
    the worker's end has a few spare ones, and lets go of them for the moment in which it receives. When they
    do not suffice, or when none is free for what waits to be sent, the message comes without: an order is an
    order, and all its descriptors come, or none.

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
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Generic

from reuseport.messages import PACKET, TO_LAUNCHER, Alphabet, Message, Said, ToLauncher
from reuseport.packets import ViolationError, decode, encode

AT_ONCE = 32
"""Messages that one call of `receive` takes, so that whoever sends without an end is no loop without one."""

NOT_NOW = frozenset({errno.EAGAIN, errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM})
"""The buffer is full; or this user has as many descriptors under way as RLIMIT_NOFILE allows (unix(7)), or
the kernel no memory, and a buffer with room says nothing of that."""
NONE_FREE = frozenset({errno.EMFILE, errno.ENFILE})
"""This process, or the host, has no descriptor left."""
SPARE = 4
"""Descriptors that are kept free: an heir's inbox takes one, a foster's inbox and listeners two or three."""
NOBODY_READS = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EBADF, errno.ENOTSOCK})
"""The peer is gone; its end is told elsewhere. Or our own end is: the application has closed it."""


HERE = b"here"
_CREDENTIALS = struct.Struct("=iII")
"""struct ucred: pid, uid, gid."""


class PeerGoneError(Exception):
    """The other end is closed and everything it had sent has been read."""


class Channel(Generic[Said]):
    """One end, which hears `alphabet`. Owns its socket, and duplicates of what waits with a message."""

    def __init__(self, end: socket.socket, alphabet: Alphabet[Said]) -> None:
        end.setblocking(False)
        self._socket = end
        self._alphabet: Alphabet[Said] = alphabet
        self._waiting: collections.deque[tuple[bytes, list[int]]] = collections.deque()
        self._spare: list[int] = []
        self._keep_spare()
        self.crowded = False
        """Not room in the buffer is missing, when something waits: only time helps."""

    @staticmethod
    def pair() -> tuple[Channel[ToLauncher], socket.socket]:
        """The launcher's end, and the socket for a worker to inherit."""
        return paired(TO_LAUNCHER)

    def fileno(self) -> int:
        """For the event loop: readable when `receive` has something, writable when `flush` can go on."""
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Some messages wait for room in the socket's buffer."""
        return bool(self._waiting)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send, or keep for `flush`. The descriptors stay the caller's. A dead peer is no error here."""
        packet = encode(message)
        if self._waiting or not self._try(packet, fds):
            self._waiting.append((packet, _duplicates(fds)))

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting:
            packet, fds = self._waiting[0]
            if not self._try(packet, fds):
                return
            self._waiting.popleft()
            close_all(fds)

    def receive(self, most: int = AT_ONCE) -> list[tuple[Said, list[int]]]:
        """The messages that have come, so many at most, each with its descriptors, which are the caller's.

        Without them, if they were lost. Raises PeerGoneError at the end of file, and ViolationError.
        """
        received: list[tuple[Said, list[int]]] = []
        while len(received) < most:
            try:
                packet, fds, flags = self._next()
            except BlockingIOError:
                break
            except ConnectionResetError:
                # The peer closed without reading all we sent. The kernel says so once, and before
                # what the peer had sent (net/core/datagram.c, __skb_try_recv_datagram): read on.
                continue
            if not packet and not flags & socket.MSG_CTRUNC:
                if received:
                    break  # the end of file stays readable, so the next call raises
                raise PeerGoneError
            try:
                received.append((self._understand(packet, flags), fds))
            except ViolationError:
                close_all(fds)
                raise
        return received

    def _next(self) -> tuple[bytes, list[int], int]:
        """A packet, with all of its descriptors, or none of them. Raises as recvmsg(2)."""
        close_all(self._spare)
        self._spare = []
        try:
            packet, fds, flags = receive_packet(self._socket, PACKET, self._alphabet.most_descriptors)
        finally:
            self._keep_spare()
        if flags & socket.MSG_CTRUNC:
            close_all(fds)
            fds = []
        return packet, fds, flags

    def _keep_spare(self) -> None:
        if self._alphabet.most_descriptors:
            with contextlib.suppress(OSError):  # none is free: then none is spare
                while len(self._spare) < SPARE:
                    self._spare.append(os.eventfd(0, os.EFD_CLOEXEC))

    def _understand(self, packet: bytes, flags: int) -> Said:
        if flags & socket.MSG_CTRUNC and not self._alphabet.most_descriptors:
            raise ViolationError("descriptors came with a message, and none is wanted")
        if flags & socket.MSG_TRUNC:
            raise ViolationError(f"a message of more than {PACKET} bytes")
        return decode(packet, self._alphabet)

    def ask_who(self) -> None:
        """Have the kernel tell who speaks, until `who` is asked."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def who(self) -> int | None:
        """The pid of the process that has said so, in our namespace; None: nobody has. Once."""
        try:
            word, ancillary, *_ = self._socket.recvmsg(len(HERE) + 1, socket.CMSG_LEN(_CREDENTIALS.size))
        except (BlockingIOError, ConnectionResetError):
            return None
        finally:
            # What comes from now on is read without room for it.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        for level, kind, content in ancillary:
            if (level, kind, word) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, HERE):
                return int(_CREDENTIALS.unpack(content)[0])
        return None

    def close(self) -> None:
        """Close this end, and drop what waits."""
        close_all(self._spare)
        self._spare = []
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
                self.crowded = error.errno != errno.EAGAIN
                return False
            if error.errno not in NOBODY_READS:
                raise
        return True


def say_who(end: int) -> None:
    """The first word at the other end of an asking one. Raises OSError."""
    os.write(end, HERE)


def paired(alphabet: Alphabet[Said]) -> tuple[Channel[Said], socket.socket]:
    """The end that hears this alphabet, and the socket for the other one. Raises OSError (socketpair(2))."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    give_room(ours)
    give_room(theirs)
    return Channel(ours, alphabet), theirs


def give_room(end: socket.socket) -> None:
    """For the longest packet, whatever net.core.wmem_default is."""
    # The kernel doubles it, for its own bookkeeping (socket(7)).
    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PACKET)


def receive_packet(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int], int]:
    """The next packet, its descriptors (close-on-exec, the caller's) and its flags. Raises as recvmsg(2).

    Not socket.recv_fds: it takes flags and passes none on, so what came would be inherited by everything
    the application executes, and a listener or a connection would outlive its worker there.
    """
    fds = array.array("i")
    room = socket.CMSG_LEN(most * fds.itemsize) if most else 0
    packet, ancillary, flags, _ = sock.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            # What was cut short (MSG_CTRUNC) may end within a number.
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return packet, list(fds), flags


def _duplicates(fds: Sequence[int]) -> list[int]:
    """Of all of them, or of none where none is free."""
    copies: list[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))  # noqa: PERF401 - those made so far are to be closed
    except OSError as error:
        close_all(copies)
        if error.errno not in NONE_FREE:
            raise
        return []
    return copies


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that nobody wants."""
    for fd in fds:
        os.close(fd)
