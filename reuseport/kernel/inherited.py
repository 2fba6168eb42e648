"""Listening sockets that the service manager has opened and hands to us: sd_listen_fds(3), systemd.socket(5).

They listen already, and go on listening after us: who connects while we start or restart waits in a queue.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import ExitStack

from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import Endpoint
from reuseport.kernel.mending import drop_program, listens
from reuseport.records import record

FIRST = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""
MOST = 100_000
"""More than that is no number of descriptors but a mistake."""

log = logging.getLogger("reuseport")


@record(frozen=True)
class Inherited:
    """A listener as it was passed. `fd` is its number, also the socket's; ours until `close`."""

    fd: int
    name: str
    """FileDescriptorName=: the socket unit's own, unless it says otherwise; empty where nobody said."""
    socket: socket.socket

    def close(self) -> None:
        """Let go of our copy; the manager has its own."""
        self.socket.close()

    @property
    def endpoint(self) -> Endpoint | None:
        """Where clients connect, if that is by TCP."""
        if self.socket.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        return Endpoint.from_json([int(self.socket.family), *self.socket.getsockname()])

    @property
    def path(self) -> str | None:
        """The same for a unix socket; an abstract name begins with `@`."""
        if self.socket.family != socket.AF_UNIX:
            return None
        name = self.socket.getsockname()
        return f"@{os.fsdecode(name[1:])}" if isinstance(name, bytes) else str(name)

    @property
    def shares(self) -> bool:
        """It was bound with SO_REUSEPORT (ReusePort=yes), so others may stand beside it."""
        if self.endpoint is None:
            return False
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))

    def __str__(self) -> str:
        place = str(self.endpoint) if self.endpoint is not None else f"unix:{self.path}"
        return f"{place} (descriptor {self.fd}{', ' if self.name else ''}{self.name})"


def passed(environment: Mapping[str, str]) -> list[Inherited]:
    """What was passed to this process, in its order; owned by whoever calls.

    Raises ConfigurationError for what no listener can be made of; then nothing is left open.
    """
    number = _number(environment)
    if number == 0:
        return []
    names = environment.get("LISTEN_FDNAMES", "").split(":") if environment.get("LISTEN_FDNAMES") else []
    if names and len(names) != number:
        raise ConfigurationError(
            f"LISTEN_FDNAMES has {len(names)} names, and LISTEN_FDS says {number}: start us by the service"
            " manager itself, or unset both"
        )
    with ExitStack() as undo:
        found = []
        for position in range(number):
            each = _adopted(FIRST + position, names[position] if names else "")
            undo.callback(each.close)
            found.append(each)
        for each in found:
            if each.shares:
                # A run before us that was killed has left it: its map would keep the listener for itself.
                drop_program(each.socket)
        undo.pop_all()
    return found


def _number(environment: Mapping[str, str]) -> int:
    text, pid = environment.get("LISTEN_FDS", ""), environment.get("LISTEN_PID", "")
    if not text or not pid:
        return 0
    if pid != str(os.getpid()):
        # As sd_listen_fds(3) does; but whoever put a shell in between should hear of it.
        log.warning("LISTEN_FDS is for pid %s and not for us (pid %d): ignored; exec us", pid, os.getpid())
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MOST)) or int(text) > MOST:
        raise ConfigurationError(f"LISTEN_FDS is {text!r}, no number of sockets: unset it, or mend it")
    return int(text)


def _came(fd: int) -> bool:
    """Whether whoever executed us has passed this descriptor: what we have opened since is close-on-exec."""
    try:
        return os.get_inheritable(fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return False


def _adopted(fd: int, name: str) -> Inherited:
    what = f"descriptor {fd}{f' ({name})' if name else ''} of the service manager"
    if not _came(fd):
        raise ConfigurationError(f"{what} is not open: LISTEN_FDS says more than were passed")
    status = os.fstat(fd)
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigurationError(f"{what} is no socket: pass ListenStream= alone")
    os.set_inheritable(fd, False)
    listener = socket.socket(fileno=fd)
    if (complaint := _complaint(listener)) is not None:
        listener.close()
        raise ConfigurationError(f"{what} {complaint}")
    listener.setblocking(False)
    return Inherited(fd, name, listener)


def _complaint(candidate: socket.socket) -> str | None:
    if candidate.type != socket.SOCK_STREAM or candidate.family not in (
        *(socket.AF_INET, socket.AF_INET6, socket.AF_UNIX),
    ):
        return "is no stream of TCP or unix: pass ListenStream=, not ListenDatagram= and the like"
    if not listens(candidate):
        return "is no listener: a client's connection, perhaps; say Accept=no in the socket unit"
    return None
