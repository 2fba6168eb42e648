"""Messages and descriptors between the launcher and one worker: both ends of the protocol in one file.

A SOCK_SEQPACKET pair (unix(7)): one packet is one message, a JSON object whose "kind" names its class,
with descriptors as SCM_RIGHTS. Readiness is a message; death is the end of file.

    launcher → worker    Start, first and once · Foster, Unfoster · Pass · Drain · ReopenLogs
    worker → launcher    Failed, or Listens and Ready · LimitReached · Leaving

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
import signal
import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

PACKET = 192 * 1024
"""Bytes a message may have: below what net.core.wmem_max allows a send buffer by default, 208 KiB."""
MOST_DESCRIPTORS = 253
"""SCM_MAX_FD, include/net/scm.h."""

GROUP_SIGNALS = frozenset(
    {
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGQUIT,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)
"""A terminal or a log rotation sends these to launcher and workers alike; the launcher alone acts on them.

A worker is executed with them blocked, and unblocks them when it has set handlers: their default would end
one that just starts.
"""

STACKS_SIGNAL: int = signal.SIGRTMIN + 5
"""A worker dumps the stacks of its threads and goes on. A real-time signal, because applications use the
others, and not the first few, which libraries take. Blocked, too, until the worker is ready for it.
"""

NOT_NOW = frozenset({errno.EAGAIN, errno.ETOOMANYREFS})
"""The buffer is full, or this user has as many descriptors under way as RLIMIT_NOFILE allows (unix(7))."""
NOBODY_READS = frozenset({errno.EPIPE, errno.ECONNRESET})
"""The peer is gone; its end is told elsewhere."""


@dataclass(frozen=True, slots=True)
class Start:
    """Who the worker is and what it serves.

    Descriptors: the scoreboard, which has rows for `slots` slots; the receiving end of the slot's inbox; the
    file that STACKS_SIGNAL dumps into; `shared` sockets that all workers accept from; and then the slot's own
    listeners, one for each endpoint, bound by the launcher, which keeps a duplicate of each: the escrow.
    """

    settings: str
    slot: int
    desk: int
    generation: int
    slots: int
    shared: int
    cpu: int | None = None
    """Where all its threads are to run (--pin-cpus)."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept no more, pass idle connections on, finish within `timeout` seconds, exit.

    Descriptors: the sending end of the inbox of each heir; none when the whole server stops.
    """

    timeout: float


@dataclass(frozen=True, slots=True)
class Foster:
    """Accept also for another slot, until told otherwise.

    Descriptors: the receiving end of that slot's inbox, and its listeners.
    """

    slot: int


@dataclass(frozen=True, slots=True)
class Unfoster:
    """The slot is served again: accept for it no more."""

    slot: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Pass up to `count` connections on, each when it becomes idle after an answer, within a second.

    Descriptor: the sending end of the inbox of the slot that they are for.
    """

    count: int


@dataclass(frozen=True, slots=True)
class ReopenLogs:
    """Open the log files again: they were rotated."""


@dataclass(frozen=True, slots=True)
class Listens:
    """The application is up, and the worker is about to call listen(2): clients connect from now on."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The listeners accept."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker never becomes ready and exits. `text` is for people; `blame` says who must act."""

    blame: Literal["operator", "application"]
    text: str


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The worker has answered as many requests as --limit-max-requests allows, and goes on answering."""

    requests: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """Somebody sent the worker SIGTERM: it asks to be replaced, and serves until it is told to drain.

    The second time it tells that it does not wait, and drains.
    """


Message: TypeAlias = (
    Start | Drain | Foster | Unfoster | Pass | ReopenLogs | Listens | Ready | Failed | LimitReached | Leaving
)

KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        *(Start, Drain, Foster, Unfoster, Pass, ReopenLogs),
        *(Listens, Ready, Failed, LimitReached, Leaving),
    )
}


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
