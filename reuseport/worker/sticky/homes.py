"""The slot that a session belongs to: the one whose worker first answered with its key, else one by hashing.

Whether a slot is served is read off the scoreboard: not fenced, which is the launcher's word, and the event
loop of its worker has turned lately. A worker that is busy is waited for, as nobody else knows the session.
One that is silent for AWAY is not.

By hashing: rendezvous hashing over the slots that are served (Thaler and Ravishankar, 1998), so that all
workers choose the same, and when one slot goes only its keys find another.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from reuseport.keytable import KeyTable
from reuseport.scoreboard import DESKS, Desk, Scoreboard, SlotWord
from reuseport.worker.sticky.keys import Key

AWAY = 3.0
"""Seconds of silence after which requests are not sent to a worker any more, and siblings may take those that
wait for it: longer than a stop of the garbage collector or an import, shorter than a client's patience."""
FRESH = 0.05
"""Seconds for which a list of who serves is good enough to hash with, if who is chosen still does."""

_MASK = (1 << 64) - 1


class Homes:
    """As seen by the worker in slot `own`, at `desk`. Borrows table and scoreboard."""

    def __init__(self, table: KeyTable, scoreboard: Scoreboard, own: int, desk: int) -> None:
        self.own = own
        self._desk = desk
        self._table = table
        self._scoreboard = scoreboard
        self._known = {own}
        self._serving: list[int] = []
        self._serving_until = 0.0
        table.reach(own)

    def reach(self, slots: Iterable[int]) -> None:
        """These slots exist."""
        for slot in slots:
            self._known.add(slot)
            self._table.reach(slot)
        self._serving_until = 0.0

    def of(self, key: Key) -> int | None:
        """Where it belongs: to a slot that is served, or ours. None: to one whose worker is away for long."""
        own = self.own
        if key.slot is not None:
            candidates: Iterable[int] = (key.slot,)
        else:
            candidates = self._table.find(key.tag)
        away = False
        for slot in candidates:
            if slot == own or self.serves(slot):
                return slot
            away = away or self.in_service(slot)
        return None if away else self._hashed(key.tag)

    def learn(self, tag: bytes) -> None:
        """We have answered with this key: it is ours, unless it is somebody's who serves."""
        row = self._scoreboard.slot(self.own)
        if row[SlotWord.FENCE] or row[SlotWord.SERVING_DESK] != self._desk:
            return  # we leave: a successor writes what stands in our name
        for slot in self._table.find(tag):
            if slot == self.own or self.in_service(slot):
                return
        self._table.put(tag, self.own)

    def in_service(self, slot: int) -> bool:
        """Whether a worker holds the slot, turning or not. False for one that does not exist."""
        return slot in self._known and not self._scoreboard.slot(slot)[SlotWord.FENCE]

    def serves(self, slot: int) -> bool:
        """Whether that worker's event loop has turned lately."""
        if not self.in_service(slot):
            return False
        desk = self._scoreboard.slot(slot)[SlotWord.SERVING_DESK]
        if desk >= DESKS:
            return False  # somebody has written what he should not
        heartbeat = self._scoreboard.word(slot, desk, Desk.HEARTBEAT)
        return time.monotonic_ns() - heartbeat < AWAY * 1e9

    def _hashed(self, tag: bytes) -> int:
        number = int.from_bytes(tag, "little")
        while True:
            now = time.monotonic()
            fresh = now >= self._serving_until
            if fresh:
                self._serving_until = now + FRESH
                self._serving = [slot for slot in sorted(self._known) if self.serves(slot)]
            chosen = max(self._serving, key=lambda slot: _weight(number, slot), default=self.own)
            if fresh or chosen == self.own or self.serves(chosen):
                return chosen
            self._serving_until = 0.0


def _weight(number: int, slot: int) -> int:
    """Of a slot for a key: SplitMix64's mixing (Steele, Lea and Flood, 2014) of both."""
    mixed = (number + (slot + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & _MASK
    return mixed ^ (mixed >> 31)
