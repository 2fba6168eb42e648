"""`only_one`: of all workers of a server, one holds a name. The application's end of it.

The lock is the kernel's (kernel/locks.py), on a file that the launcher has made and opened for this worker
alone (launcher/exclusion.py): what a worker held is free the moment it is gone, however it ended, without a
message and without a timeout. Nobody waits in a call that blocks: who does not get the lock tries again four
times a second, so a name moves within PAUSE and what the event loop needs for a turn. A thread that waits in
the kernel would be told at once, but could not be told to stop, and would hold up the worker's exit.

To the kernel all tasks of a worker are one holder, so among themselves a set decides. A process that the
worker forks has its descriptors, too: in the child they are taken away (worker/offspring.py), and whoever
asks there is refused.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
from types import TracebackType
from typing import Literal

from reuseport.kernel import locks
from reuseport.notice import Draining, draining

PAUSE = (0.2, 0.3)
"""Seconds between two tries of a task: at random, so that those who wait for the same do not wake at once."""
LONGEST_NAME = 100
"""Characters."""


class Seat:
    """What this process can hold. Owns the descriptor of its lock file, if it has one."""

    def __init__(self, fd: int | None, notice: Draining = draining) -> None:
        """None: there is no server, and nobody else to exclude. Raises OSError."""
        self._fd = fd
        self._notice = notice
        self._process = os.getpid()
        self._identity = None if fd is None else _identity(fd)
        self._mutex = threading.Lock()
        self._held: set[str] = set()

    def held(self) -> tuple[str, ...]:
        """The names that this process holds, in order."""
        with self._mutex:
            return tuple(sorted(self._held))

    def descriptors(self) -> tuple[int, ...]:
        """What a forked process must not keep."""
        return () if self._fd is None else (self._fd,)

    def take(self, name: str) -> bool:
        """Whether this process holds the name from now on, for who asks. A worker that drains gets nothing.

        Raises RuntimeError where nothing can be held, OSError as fcntl(2).
        """
        if os.getpid() != self._process:
            raise RuntimeError("only_one() is for the worker itself, not for a process that it has forked")
        with self._mutex:
            if name in self._held or self._notice.is_set():
                return False
            if self._fd is not None:
                if _identity(self._fd) != self._identity:
                    raise RuntimeError(
                        "only_one() is not to be had: the application has closed our descriptor"
                    )
                if not locks.take(self._fd, locks.place(name)):
                    return False
            self._held.add(name)
            return True

    def release(self, name: str) -> None:
        """The name is for others. Raises OSError as fcntl(2)."""
        if os.getpid() != self._process:
            return  # what was forked comes through our frames, and holds nothing
        with self._mutex:
            self._held.discard(name)
            if self._fd is not None and _identity(self._fd) == self._identity:
                locks.release(self._fd, locks.place(name))


def _identity(fd: int) -> tuple[int, int] | None:
    """Which file it is; None: none any more."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


_seat: Seat | None = None
_alone = Seat(None, Draining())


def sit(fd: int | None) -> Seat | None:
    """The worker's, before the application is imported. `fd` is its own from now on; None: it got none."""
    global _seat  # noqa: PLW0603 - one a process, as with `draining`
    _seat = None if fd is None else Seat(fd)
    return _seat


class OnlyOne:
    """`async with`: the body runs in no other worker of this server meanwhile, nor in another task.

    Waiting can be cancelled. What is entered is `draining`, for whoever wants to know when to leave.
    """

    def __init__(self, name: str, outside: Literal["refuse", "held"]) -> None:
        self._name = name
        self._outside = outside

    async def __aenter__(self) -> Draining:
        seat = self._seat()
        while not seat.take(self._name):  # noqa: ASYNC110 - other processes can set no event
            await asyncio.sleep(random.uniform(*PAUSE))
        return draining

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._seat().release(self._name)

    def _seat(self) -> Seat:
        if _seat is not None:
            return _seat
        if "REUSEPORT_SLOT" in os.environ:
            raise RuntimeError(
                f"only_one({self._name!r}) is for the worker itself, not for a process that it has started;"
                " or the worker got no lock file: the log of the launcher says why"
            )
        if self._outside == "held":
            return _alone
        raise RuntimeError(
            f"only_one({self._name!r}): there is no reuseport server here. Start the application with"
            f" python -m reuseport; or, where there is but one process, say"
            f' only_one({self._name!r}, outside="held")'
        )


def only_one(name: str, *, outside: Literal["refuse", "held"] = "refuse") -> OnlyOne:
    """`async with only_one("scheduler"):` holds the name as soon as no other worker of this server does.

    Another worker gets it within a second when the holder leaves the block or its process ends, however; a
    holder whose event loop is blocked keeps it, so there are never two. A worker that drains gets nothing any
    more, and should leave: `draining` says so. Where no reuseport server runs it raises RuntimeError when
    entered, or with `outside="held"` excludes only the tasks of this process.

    `name` has 1 to 100 characters. Raises ValueError for another.
    """
    if not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} characters, not {len(name)}")
    if outside not in ("refuse", "held"):
        raise ValueError(f"outside is 'refuse' or 'held', not {outside!r}")
    return OnlyOne(name, outside)
