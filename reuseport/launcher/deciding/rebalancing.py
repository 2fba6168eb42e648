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
from collections.abc import Iterator, Mapping, Sequence, Set

from reuseport.launcher.deciding.burden import LOOKS, Reading, Seen
from reuseport.records import record

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


@record(frozen=True, slots=True)
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
        most = {slot: seen.most() for slot, seen in free.items()}
        uneven = UNEVEN * sum(most.values()) / max(1, len(most))
        givers = {slot: free[slot].least() for slot in hot if slot in free and free[slot].certain()}
        givers = {slot: least for slot, least in givers.items() if least > uneven}
        takers = {slot: most[slot] for slot, seen in free.items() if seen.takes(now)}
        units = {slot: least / free[slot].last.active for slot, least in givers.items()}
        self._moved = {pair: at for pair, at in self._moved.items() if now - at < HOLD_NS}
        barred = {(giver, taker) for taker, giver in self._moved}
        given = _deal(givers, takers, units, barred)
        for giver in sorted({giver for giver, _ in given}):
            shares = {taker: count for (who, taker), count in given.items() if who == giver}
            last = free[giver].last
            self._orders[giver] = _Order(giver, last, shares, now)
            for taker, count in shares.items():
                self._moved[giver, taker] = now
                yield Move(last.worker, taker, count)


def _deal(
    givers: dict[int, float],
    takers: dict[int, float],
    units: Mapping[int, float],
    barred: Set[tuple[int, int]],
) -> Counter[tuple[int, int]]:
    """One connection after the other from who is most burdened then to who is least: how many by giver and
    taker. Burdens in seconds; `units`: of one connection of each giver.
    """
    given: Counter[tuple[int, int]] = Counter()
    counts: Counter[int] = Counter()
    while givers:
        giver = max(givers, key=lambda slot: (givers[slot], slot))
        allowed = [slot for slot in takers if slot != giver and (giver, slot) not in barred]
        taker = min(allowed, key=lambda slot: (takers[slot], slot), default=giver)
        worth = taker != giver and givers[giver] - takers[taker] >= WORTH * units[giver]
        if not worth or counts[giver] == AT_ONCE:
            del givers[giver]
            continue
        givers[giver] -= units[giver]
        takers[taker] += units[giver]
        given[giver, taker] += 1
        counts[giver] += 1
        # Nobody gives and takes by the same look.
        takers.pop(giver, None)
        givers.pop(taker, None)
    return given


class _Order:
    """What the worker in one slot was told to give."""

    def __init__(self, giver: int, reading: Reading, given: Mapping[int, int], now: int) -> None:
        self.concerned = frozenset({giver, *given})
        self._worker = reading.worker
        self._rebalanced = reading.rebalanced + sum(given.values())
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
