"""What is planned: replacements that start before they stop, one at a time. Plain data, no I/O.

A swap is one slot's planned replacement; a reload is a swap for every slot. Recycles wait behind a reload,
which fulfils those of the slots it replaces; if it is aborted they are still wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.deciding.slots import Slot


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


@dataclass(slots=True)
class Rollout:
    """The swaps in their order, and the reload they belong to."""

    swaps: list[Swap] = field(default_factory=list)
    generation: int | None = None
    """Of the reload that is running."""
    again: bool = False
    """Another reload was asked for meanwhile: any number of requests is one."""

    def begin_reload(self, generation: int, slots: Iterable[int], now: float) -> None:
        """Plan a swap for each slot, before the recycles that have not begun."""
        self.generation = generation
        self.again = False
        begun = [swap for swap in self.swaps if swap.successor is not None]
        waiting = [swap for swap in self.swaps if swap.successor is None]
        self.swaps = [*begun, *(Swap(slot, Reason.RELOAD, now) for slot in slots), *waiting]

    def recycle(self, slot: int, reason: Reason, now: float) -> bool:
        """Plan to replace one slot's worker; False if that is planned already."""
        if any(swap.slot == slot and swap.reason is not Reason.RELOAD for swap in self.swaps):
            return False
        self.swaps.append(Swap(slot, reason, now))
        return True

    def of_successor(self, worker: int) -> Swap | None:
        """The swap that waits for this worker."""
        return next((swap for swap in self.swaps if swap.successor == worker), None)

    def fulfil(self, slot: int, generation: int) -> None:
        """A new worker is ready in the slot: whatever was planned there is done, unless it is older code."""
        self._keep(
            lambda swap: swap.slot != slot or (swap.reason is Reason.RELOAD and generation != self.generation)
        )

    def forget(self, slot: int) -> None:
        """The slot is scaled away."""
        self._keep(lambda swap: swap.slot != slot)

    def next(self, slots: Callable[[int], Slot], now: float) -> Swap | None:
        """The swap to start now; none while another one runs."""
        if any(swap.successor is not None for swap in self.swaps):
            return None
        # A recycle whose worker meanwhile died is done: the restart replaces it.
        self._keep(lambda swap: swap.reason is Reason.RELOAD or slots(swap.slot).serving() is not None)
        return next((swap for swap in self.swaps if swap.startable(slots(swap.slot), now)), None)

    def reloaded(self) -> bool:
        """A reload runs, and no swap of it is left."""
        return self.generation is not None and all(swap.reason is not Reason.RELOAD for swap in self.swaps)

    def end_reload(self) -> None:
        """The reload is done, or given up."""
        self.generation = None
        self._keep(lambda swap: swap.reason is not Reason.RELOAD)

    def clear(self) -> None:
        """Nothing is planned any more: the server stops."""
        self.swaps.clear()
        self.generation = None
        self.again = False

    def _keep(self, wanted: Callable[[Swap], bool]) -> None:
        self.swaps = [swap for swap in self.swaps if wanted(swap)]
