"""Which worker hands connections to which slot, so that about as much work waits in each. Pure.

A slot gives when it is hot and its burden is a fifth above the mean, to the least burdened, and only as far
as a move makes the two more alike and does not merely swap them. Of who gives counts the least burden of the
last looks, of who takes the greatest. Then both are left alone until the order is carried out, or not heeded
any more, and for two looks.

A worker that dies takes what was seen of it along, and its successor is looked at anew; an order that it had
is forgotten with it. A slot that is not served, or does not turn, gets nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reuseport.launcher.burden import LOOKS, Reading, Seen

UNEVEN = 1.2
"""Times the mean: burdens up to here are taken for even."""
WORTH = 1.5
"""The least difference, in connections: at 1 the two would swap places, at 2 they are even afterwards."""
AT_ONCE = 16
"""Connections that one slot gives by one look."""
HOLD_NS = 10_000_000_000
"""After a move no move back for so long."""
HEEDED_NS = 1_250_000_000
"""After so long from its reading an order is not heeded any more: a second, and some for the looks."""


@dataclass(frozen=True, slots=True)
class Move:
    """The worker is to pass up to `count` connections to the inbox of `slot`."""

    worker: int
    slot: int
    count: int


class Rebalancing:
    """Looks at all slots every WINDOW seconds, and says what is to be moved."""

    def __init__(self) -> None:
        self._seen: dict[int, Seen] = {}
        self._orders: dict[int, _Order] = {}
        """By the slot that gives: what is not carried out yet."""
        self._moved: dict[tuple[int, int], int] = {}
        """When a slot last gave to another."""

    def look(self, readings: Mapping[int, Reading], now: int) -> list[Move]:
        """What follows from a look at all slots that are served, at `now` in nanoseconds."""
        for slot in self._seen.keys() - readings.keys():
            del self._seen[slot]
        for slot, reading in readings.items():
            seen = self._seen.get(slot)
            if seen is None or seen.last.worker != reading.worker:
                self._seen[slot] = Seen(reading, now)
            else:
                seen.take_in(reading, now)
        self._settle()
        # Nearly always nobody is, and then this was all.
        hot = [slot for slot, seen in self._seen.items() if seen.hot >= LOOKS]
        return list(self._plan(hot, now)) if hot else []

    def _settle(self) -> None:
        """Look anew at whom an order concerned, once it is carried out or not heeded any more."""
        for giver, order in list(self._orders.items()):
            seen = self._seen.get(giver)
            if seen is None or order.over(seen.last):
                del self._orders[giver]
                for slot in order.concerned & self._seen.keys():
                    self._seen[slot].forget()

    def _plan(self, hot: Sequence[int], now: int) -> Iterator[Move]:
        held = {slot for order in self._orders.values() for slot in order.concerned}
        free = {slot: seen for slot, seen in self._seen.items() if slot not in held and seen.known()}
        burdens = {slot: seen.most() for slot, seen in free.items()}
        uneven = UNEVEN * sum(burdens.values()) / max(1, len(burdens))
        takers = [slot for slot, seen in free.items() if seen.takes(now)]
        self._moved = {pair: at for pair, at in self._moved.items() if now - at < HOLD_NS}
        givers = {slot: free[slot].least() for slot in hot if slot in free and free[slot].certain()}
        for giver in sorted(givers, key=lambda slot: -givers[slot]):
            seen = free[giver]
            # Nor does anybody give who has just been given something.
            if givers[giver] <= uneven or burdens[giver] != seen.most():
                continue
            burdens[giver] = givers[giver]
            allowed = [slot for slot in takers if slot != giver and (slot, giver) not in self._moved]
            given = _deal(giver, givers[giver] / seen.last.active, allowed, burdens)
            if given:
                self._orders[giver] = _Order(giver, seen.last, given, now)
            for taker, count in given.items():
                self._moved[giver, taker] = now
                yield Move(seen.last.worker, taker, count)


def _deal(giver: int, unit: float, takers: Sequence[int], burdens: dict[int, float]) -> Counter[int]:
    """One connection after the other, each a burden of `unit`, to who is least burdened then."""
    given: Counter[int] = Counter()
    while takers and given.total() < AT_ONCE:
        taker = min(takers, key=lambda slot: (burdens[slot], slot))
        if burdens[giver] - burdens[taker] < WORTH * unit:
            break
        burdens[giver] -= unit
        burdens[taker] += unit
        given[taker] += 1
    return given


class _Order:
    """What the worker in one slot was told to give."""

    def __init__(self, giver: int, reading: Reading, given: Counter[int], now: int) -> None:
        self.concerned = frozenset({giver, *given})
        self._worker = reading.worker
        self._rebalanced = reading.rebalanced + given.total()
        """What the worker has counted when all is carried out."""
        self._sent = now
        self._read: int | None = None
        """When it turned for the first time since."""

    def over(self, reading: Reading) -> bool:
        """It is carried out, or not heeded any more."""
        if reading.worker != self._worker or reading.rebalanced >= self._rebalanced:
            return True
        if self._read is None and reading.heartbeat > self._sent:
            self._read = reading.heartbeat
        return self._read is not None and reading.heartbeat - self._read > HEEDED_NS
