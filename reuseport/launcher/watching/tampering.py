"""What a worker that was taken over may have done to listeners, which it has in its hands: seen, and undone.

It owns its slot as long as it lives, and may refuse whom it likes. What it leaves behind is mended: a
listener that listens no more would be dead for its successor, too, and a program that it attached would
choose for the whole group until the last listener is closed.

That a listener is closed is told by epoll(7) at once (EPOLLHUP). Whoever fosters the slot may open it again a
moment later, and then nothing would tell that its own worker has given it up, as uvloop does.
"""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Iterable

from reuseport.kernel.mending import listen_again, listens
from reuseport.launcher.balance import Balance
from reuseport.launcher.guarded import GuardedLoop

EVERY = 1.0
"""Seconds between looks at everything: a system call for each listener, and one for each group."""
PAUSE = 0.05
"""Seconds after a listener was opened again in which we are not woken for the next: nobody keeps us busy."""

log = logging.getLogger("reuseport")


class Tampering:
    """From `watch` to `release`. `on_undone` gets the slot, None for all, and a sentence.

    `backlog` is as for listen(2). Not `alone` (--join): others are in the groups, and theirs may be what
    chooses. Borrows the listeners, owns its epoll descriptor until `close`.
    """

    def __init__(
        self,
        loop: GuardedLoop,
        balance: Balance,
        backlog: int,
        on_undone: Callable[[int | None, str], None],
        *,
        alone: bool,
    ) -> None:
        self._loop = loop
        self._balance = balance
        self._backlog = backlog
        self._on_undone = on_undone
        self._alone = alone
        self._epoll = select.epoll()
        self._next = 0.0
        self._watched: dict[int, tuple[int, int, socket.socket]] = {}
        """By descriptor: slot, endpoint, listener."""
        self._doubted: set[int] = set()
        """Slots whose listeners may not be where the kernel looks for them."""

    def watch(self, slot: int, listeners: Iterable[socket.socket]) -> None:
        """Look at these, too; again does nothing. They must listen."""
        for group, listener in enumerate(listeners):
            if listener.fileno() not in self._watched:
                if not self._watched:
                    self._loop.add_reader(self._epoll.fileno(), self._on_closed)
                self._watched[listener.fileno()] = slot, group, listener
                # Nothing but what is told without being asked for.
                self._epoll.register(listener, 0)

    def doubt(self, slot: int) -> None:
        """The slot's listeners could not be steered: do it at the next look."""
        self._doubted.add(slot)

    def look(self, now: float) -> None:
        """Undo what nobody has told of."""
        if now < self._next or not self._watched:
            return
        self._next = now + EVERY
        programs: set[int] = set()
        doubted, self._doubted = self._doubted, set()
        for slot, group, listener in list(self._watched.values()):
            if not listens(listener):
                self._open(slot, group, listener)
            elif slot in doubted:
                self._join(slot, group, listener)
            elif group not in programs:
                programs.add(group)
                if self._balance.insist(group, listener, alone=self._alone):
                    self._on_undone(
                        None, "a program that somebody had attached to our listeners is taken off"
                    )

    def release(self) -> None:
        """Look no more: the listeners are about to be closed."""
        if self._watched:
            self._loop.remove_reader(self._epoll.fileno())
        for fd in self._watched:
            self._epoll.unregister(fd)
        self._watched.clear()

    def close(self) -> None:
        """Let go of the descriptor."""
        self._epoll.close()

    def _on_closed(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._loop.call_later(PAUSE, self._resume)
        for fd, _ in self._epoll.poll(0):
            self._open(*self._watched[fd])

    def _resume(self) -> None:
        if self._watched:
            self._loop.add_reader(self._epoll.fileno(), self._on_closed)

    def _join(self, slot: int, group: int, listener: socket.socket) -> None:
        try:
            self._balance.join_again(slot, group, listener)
        except OSError:
            self.doubt(slot)

    def _open(self, slot: int, group: int, listener: socket.socket) -> None:
        try:
            listen_again(listener, self._backlog)
            self._balance.join_again(slot, group, listener)
        except OSError as error:
            # Whoever has closed it may do so again in between; the next look tries again.
            if slot not in self._doubted:  # once between two looks: it is told again and again
                log.error("the listener of slot %d was closed by some worker: %s", slot, error.strerror)  # noqa: TRY400
            self.doubt(slot)
            return
        self._on_undone(slot, f"the listener of slot {slot} was closed by some worker: it listens again")
