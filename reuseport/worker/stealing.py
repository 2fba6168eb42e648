"""An idle worker looks for work: it accepts from a sibling's listener while that one's event loop is blocked.

The launcher gives each worker duplicates of listeners of other slots, behind whose own workers it waits
(`kernel.waking`): the kernel wakes us for a connection only if everybody before us has something to do, so an
idle slot's connections are its own and wake nobody else. What has come while we were busy is told when we
look next, before we sleep.

That its loop was not waiting says little: it may be about to, or be woken for a connection that came just
before. So the scoreboard decides. A sibling that has work, has been silent for PATIENCE and leaves the first
who comes waiting is blocked, and that one is accepted at once. Any other is looked at again a little later,
until it has turned and nobody waits, or somebody is accepted after all: nobody is forgotten, for the kernel
has woken nobody but us for him. Then the next one, as soon as the one before has asked: who is accepted and
does not get his turn would be worse off than in a queue.

Meanwhile we do not listen there, and where we are woken in vain too often, not for a while longer: siblings
that are always busy, each time for a moment, would have us wake for many connections. Who comes then wakes
somebody else, or is found when we listen again.

Left alone, whatever we do: who waits is in the sibling's own queue, and the launcher has it fostered.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Iterable, Sequence

from reuseport.channel import close_all
from reuseport.kernel.accepting import EXHAUSTED
from reuseport.kernel.queue import accept_queue
from reuseport.kernel.waking import wait_alone, wait_no_more
from reuseport.scoreboard import DESKS, Desk, Scoreboard, SlotWord, add
from reuseport.worker.polling import epoll_of
from reuseport.worker.server import Server

PATIENCE = 0.001
"""Seconds for which a worker with work may be silent: most requests are over by then."""
AGAIN = 0.003
"""Seconds until the next look at one that may only wait for a CPU: it was woken for somebody else."""
REST = 0.02
"""The same for one without work, which nothing of ours keeps from turning."""
VAIN, AT_ONCE = 20.0, 10.0
"""Times a second that we let ourselves be woken in vain, in the long run; and how often more at once."""
LOOKS = 3
"""At who turns and still leaves somebody waiting; then that one is ours."""
TURNS = 5
"""Of the loop, in which whom we have accepted may ask, before we accept the next one."""
MOST = 32
"""Siblings, each a few descriptors: more than the launcher tells us of at once (deciding/siblings.py)."""

log = logging.getLogger("uvicorn.error")


class _Sibling:
    """Another slot's listeners, and the descriptor by which the loop tells that somebody waits there."""

    def __init__(self, slot: int, listeners: Sequence[socket.socket], ear: int) -> None:
        self.slot = slot
        self.listeners = listeners
        self.ear = ear
        self.looks = 0
        """Since somebody was found waiting; 0: nobody was."""
        self.listens = False
        self.turns = TURNS
        """Of the loop, left for whom we have accepted to ask before the next one is."""
        self.stuck = 0
        """The heartbeat after which it let somebody wait too long: with that for its last, it does again."""


class Stealing:
    """From `start` to `end`. Owns the siblings' listeners it was sent."""

    def __init__(
        self, server: Server, scoreboard: Scoreboard, desk: memoryview[int], limit: int | None
    ) -> None:
        """`limit`: connections or requests from which on the server answers 503 (--limit-concurrency)."""
        self._server = server
        self._scoreboard = scoreboard
        self._desk = desk
        self._limit = limit
        self._siblings: dict[int, _Sibling] = {}
        self._epoll: int | None = None
        self._credit, self._credited_at = AT_ONCE, 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """In this loop, if we know how it waits, and if siblings are to accept for each other at all."""
        self._loop = loop
        self._epoll = epoll_of(loop) if self._server.stolen_from else None

    def watch(self, slot: int, fds: Sequence[int]) -> None:
        """Accept from these listeners of the slot, behind all who wait there already.

        Told again when the slot has a new worker, who is to come before us.
        """
        self._leave(slot)
        if self._epoll is None or not fds:
            close_all(fds)
            return
        while len(self._siblings) >= MOST:
            self._leave(next(iter(self._siblings)))
        listeners = [socket.socket(fileno=fd) for fd in fds]
        try:
            ear = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        except OSError as error:
            self._cannot(listeners, error)
            return
        sibling = self._siblings[slot] = _Sibling(slot, listeners, ear)
        self._loop.add_reader(ear, self._on_waiting, sibling)
        self._listen(sibling)

    def _listen(self, sibling: _Sibling) -> None:
        """Be told of who comes from now on, and of who waits already. Once or often."""
        sibling.looks = 0
        if self._epoll is None or sibling.listens or self._siblings.get(sibling.slot) is not sibling:
            return
        sibling.listens = True
        try:
            for listener in sibling.listeners:
                wait_alone(self._epoll, listener.fileno(), sibling.ear, once=True)
        except OSError as error:
            self._leave(sibling.slot)
            self._cannot((), error)

    def _be_deaf(self, sibling: _Sibling) -> None:
        """Be told of nobody until we `_listen`. Once or often."""
        if self._epoll is not None and sibling.listens:
            for listener in sibling.listeners:
                wait_no_more(self._epoll, listener.fileno())
        sibling.listens = False

    def _cannot(self, listeners: Iterable[socket.socket], error: OSError) -> None:
        for listener in listeners:
            listener.close()
        log.debug("a sibling's listener is not watched: %s", error.strerror)

    def end(self) -> list[socket.socket]:
        """Accept from nobody else any more: their listeners, which are the caller's. Once or often."""
        listeners = [listener for sibling in self._siblings.values() for listener in sibling.listeners]
        for slot in list(self._siblings):
            self._look_away(slot)
        self._epoll = None
        return listeners

    def descriptors(self) -> list[int]:
        """Of what is ours: not for a forked child to keep."""
        siblings = list(self._siblings.values())
        return [
            *(sibling.ear for sibling in siblings),
            *(listener.fileno() for sibling in siblings for listener in sibling.listeners),
        ]

    def _leave(self, slot: int) -> None:
        for listener in self._look_away(slot):
            listener.close()

    def _look_away(self, slot: int) -> Sequence[socket.socket]:
        """Be told of it no more: its listeners, if we know it."""
        sibling = self._siblings.pop(slot, None)
        if sibling is None:
            return ()
        self._be_deaf(sibling)
        self._loop.remove_reader(sibling.ear)
        os.close(sibling.ear)
        return sibling.listeners

    # ── somebody waits ────────────────────────────────────────────────────────────────────────────────

    def _on_waiting(self, sibling: _Sibling) -> None:
        """A connection has come for which its loop was not waiting."""
        if not sibling.looks:
            self._look(sibling, None)

    def _look(self, sibling: _Sibling, before: int | None) -> None:
        """Accept somebody, or see that nobody waits, or look again; `before`: the last look's heartbeat."""
        if self._siblings.get(sibling.slot) is not sibling:
            return
        told = self._told(sibling.slot)
        sibling.looks += 1
        if told is not None:  # else nobody serves there, and who comes is anybody's
            pulse, load = told
            if pulse == before or self._blocked(sibling, pulse, load):
                sibling.stuck = pulse
            if pulse != sibling.stuck and sibling.looks < LOOKS:
                if before is None or self._waiting(sibling):
                    self._be_deaf(sibling)
                    self._loop.call_later(AGAIN if load else REST, self._look, sibling, pulse)
                else:
                    self._come_to_nothing(sibling)
                return
        if sibling.turns and self._server.server_state.load.expects:
            sibling.turns -= 1
            sibling.looks -= 1
            self._loop.call_soon(self._look, sibling, before)
            return
        sibling.turns = TURNS
        if not self._at_limit() and self._accept(sibling):
            self._credit = AT_ONCE
            sibling.looks = 1
            self._loop.call_soon(self._look, sibling, None)
        else:
            self._come_to_nothing(sibling)

    def _come_to_nothing(self, sibling: _Sibling) -> None:
        """Nobody is ours here. Listen again, if that is the rule a while later: then all siblings in turn."""
        now = self._loop.time()
        self._credit = min(AT_ONCE, self._credit + (now - self._credited_at) * VAIN) - 1
        self._credited_at = now
        if self._credit >= 0:
            self._listen(sibling)
        else:
            self._credit = 0.0
            self._be_deaf(sibling)
            self._loop.call_later(len(self._siblings) / VAIN, self._listen, sibling)

    def _told(self, slot: int) -> tuple[int, int] | None:
        """Heartbeat and load of the slot's worker; None where none serves."""
        row = self._scoreboard.slot(slot)
        serving = row[SlotWord.SERVING_DESK]
        if row[SlotWord.FENCE] or serving >= DESKS:
            return None
        word = self._scoreboard.word
        return word(slot, serving, Desk.HEARTBEAT), word(slot, serving, Desk.LOAD)

    def _blocked(self, sibling: _Sibling, pulse: int, load: int) -> bool:
        """At once: it has work and is silent, and was not woken a moment ago for somebody before this one."""
        silent = load and time.monotonic_ns() - pulse > PATIENCE * 1e9
        return bool(silent) and self._waiting(sibling) == 1

    def _waiting(self, sibling: _Sibling) -> int:
        return sum(accept_queue(listener).waiting for listener in sibling.listeners)

    def _at_limit(self) -> bool:
        state = self._server.server_state
        return self._limit is not None and max(len(state.connections) + 1, len(state.tasks)) >= self._limit

    def _accept(self, sibling: _Sibling) -> bool:
        """One of those who wait there, if anybody does; whether."""
        for listener in sibling.listeners:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.EINVAL:  # it listens no more
                    self._leave(sibling.slot)
                    return False
                if error.errno in EXHAUSTED:
                    return False
                continue  # this client has already left
            add(self._desk, Desk.STOLEN)
            self._server.welcome(connection)
            return True
        return False
