"""What is planned: replacements that start before they stop, few at a time. No I/O here.

A swap is one slot's planned replacement; a reload is a swap for every slot, `reload_at_once` at a time: so
many workers are there beside those that serve, whether they start or still drain. Recycles wait behind it,
which fulfils those of the slots it replaces; if it is aborted they are still wanted. A reload that
is asked for during another follows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.deciding.phases import SERVING, Phase
from reuseport.launcher.deciding.roster import Roster
from reuseport.launcher.deciding.slots import Slot, Worker


@dataclass(slots=True)
class Swap:
    """A planned replacement: the slot's worker goes only when its successor is ready."""

    slot: int
    reason: Reason
    not_before: float
    successor: int | None = None

    def startable(self, slot: Slot, now: float) -> bool:
        """The slot has room, nobody else is on the way into it, and the back-off is over."""
        return now >= self.not_before and slot.starting() is None and not slot.full()


class Rollout:
    """The swaps in their order, the reload they belong to, and the generations."""

    def __init__(self, roster: Roster) -> None:
        self.swaps: list[Swap] = []
        self.current = 1
        """The generation that serves when no reload runs."""
        self.generation: int | None = None
        """Of the reload that is running."""
        self._last = 1
        self._again = False
        """Another reload was asked for meanwhile: any number of requests is one."""
        self._closed = False
        self._roster = roster

    # ── reloads ───────────────────────────────────────────────────────────────────────────────────────

    def reload(self, now: float) -> None:
        """Begin one, or have one more follow the one that runs."""
        if self.generation is not None:
            self._again = True
            self._roster.report(reports.reload_follows(self.promised()))
            return
        self._last += 1
        slots = self._roster.wanted()
        self.generation = self._last
        # Before the recycles that have not begun.
        begun = [swap for swap in self.swaps if swap.successor is not None]
        waiting = [swap for swap in self.swaps if swap.successor is None]
        self.swaps = [*begun, *(Swap(slot, Reason.RELOAD, now) for slot in slots), *waiting]
        at_once = self._roster.policy.reload_at_once
        self._roster.report(reports.reload_begun(self._last, len(slots), at_once))

    def settle(self, now: float) -> None:
        """Declare the reload done when no swap of it is left."""
        if self.generation is None or any(swap.reason is Reason.RELOAD for swap in self.swaps):
            return
        self.current = self.generation
        self._roster.report(reports.reload_done(self.current))
        self._end(now)

    def lost(self, worker: Worker, why: str, now: float) -> None:
        """If a swap waits for this worker it is tried again with its slot; a reload is given up."""
        swap = next((swap for swap in self.swaps if swap.successor == worker.number), None)
        if swap is None:
            return
        if swap.reason is Reason.RELOAD:
            self._abort(why, now)
        else:
            swap.successor = None
            swap.not_before = self._roster.slots[swap.slot].retry_at

    def generations(self) -> frozenset[int]:
        """The one that serves, and the one that is to follow."""
        return frozenset({self.current, self.generation or self.current})

    def _abort(self, why: str, now: float) -> None:
        generation = self.generation
        if generation is None:
            raise RuntimeError("there is no reload to abort")
        slots = self._roster.wanted()
        reloaded = sum(self._roster.slot(number, self.newest()).generation == generation for number in slots)
        self._roster.report(reports.reload_aborted(generation, why, self.current, reloaded, len(slots)))
        for swap in self.swaps:
            begun = swap.reason is Reason.RELOAD and swap.successor is not None
            brother = self._roster.workers.get(swap.successor or 0) if begun else None
            # Who listens may have clients by now, and is ready in a moment: as if it had been before.
            if brother is not None and brother.phase is Phase.STARTING and not brother.listens:
                self._roster.terminate(brother, now)
        self._end(now)

    def _end(self, now: float) -> None:
        self.generation = None
        self._keep(lambda swap: swap.reason is not Reason.RELOAD)
        if self._again:
            self._again = False
            self.reload(now)

    # ── swaps ─────────────────────────────────────────────────────────────────────────────────────────

    def recycle(self, worker: Worker, reason: Reason, detail: str, now: float) -> None:
        """Plan to replace a worker that serves, unless that is planned already, or the server stops."""
        if self._closed or worker.phase not in SERVING:
            return
        if not any(swap.slot == worker.slot and swap.reason is not Reason.RELOAD for swap in self.swaps):
            self.swaps.append(Swap(worker.slot, reason, now))
            self._roster.report(reports.recycled(worker, reason, detail))

    def fulfil(self, slot: int, generation: int) -> None:
        """A new worker is ready in the slot: whatever was planned there is done, unless it is older code."""
        self._keep(
            lambda swap: swap.slot != slot or (swap.reason is Reason.RELOAD and generation != self.generation)
        )

    def forget(self, slot: int) -> None:
        """The slot is scaled away."""
        self._keep(lambda swap: swap.slot != slot)

    def next(self, slots: Callable[[int], Slot], now: float) -> Swap | None:
        """The swap to start now, if there is room for one more."""
        running = sum(swap.successor is not None for swap in self.swaps)
        if running == len(self.swaps):
            return None
        if running + len(self._roster.replaced(now)) >= self._roster.policy.reload_at_once:
            return None
        # A recycle whose worker meanwhile died is done: the restart replaces it.
        self._keep(lambda swap: swap.reason is Reason.RELOAD or slots(swap.slot).serving() is not None)
        # Of recycles there is one at a time: nobody waits for them.
        startable = [
            swap
            for swap in self.swaps
            if swap.successor is None
            and (swap.reason is Reason.RELOAD or not running)
            and swap.startable(slots(swap.slot), now)
        ]
        return min(startable, key=lambda swap: _turn(swap, slots(swap.slot)), default=None)

    def close(self) -> None:
        """Nothing is planned any more: the server stops."""
        self._closed = True
        self.swaps.clear()
        self.generation = None
        self._again = False

    # ── questions ─────────────────────────────────────────────────────────────────────────────────────

    def newest(self) -> int:
        """The generation that whoever starts now belongs to."""
        return self.generation or self.current

    def promised(self) -> int:
        """The generation that a reload brings if it is asked for now: at once, or after the one that runs."""
        return self._last + 1

    def progress(self) -> tuple[int, int, int] | None:
        """The generation of the reload that runs, how many slots have it, and how many are to."""
        if self.generation is None:
            return None
        wanted = len(self._roster.wanted())
        left = sum(swap.reason is Reason.RELOAD for swap in self.swaps)
        return self.generation, max(0, wanted - left), wanted

    def deadlines(self) -> Iterator[float]:
        """When swaps that wait may be started."""
        waiting = [swap for swap in self.swaps if swap.successor is None]
        yield from (swap.not_before for swap in waiting)
        awaited = self._roster.policy.awaited
        if waiting and awaited < math.inf:
            for worker in self._roster.workers.values():
                if worker.drains_since is not None:
                    yield worker.drains_since + awaited

    def _keep(self, wanted: Callable[[Swap], bool]) -> None:
        self.swaps = [swap for swap in self.swaps if wanted(swap)]


def _turn(swap: Swap, slot: Slot) -> tuple[bool, int]:
    """Who comes first: reloads; and where fewest still drain, for by their turn the others may be gone."""
    return swap.reason is not Reason.RELOAD, len(slot.workers)
