"""Who accepts for whom: a sibling for every slot where clients connect and nobody accepts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reuseport.launcher.deciding.events import Foster, Unfoster
from reuseport.launcher.deciding.phases import SERVING, Phase
from reuseport.launcher.deciding.slots import Slot, Worker


def arrange(slots: Mapping[int, Slot], workers: Mapping[int, Worker]) -> Iterator[Foster | Unfoster]:
    """Give every unattended slot a foster that is ready, and relieve every foster no longer needed."""
    for slot in slots.values():
        foster = workers.get(slot.foster) if slot.foster is not None else None
        if foster is None or foster.phase not in SERVING:
            slot.foster = foster = None  # who drains or died has let go by itself
        if not slot.unattended():
            successor = None
        elif foster is not None and foster.phase is Phase.READY and not foster.late:
            continue
        else:
            # With nobody ready, a stalled foster is still better than none: its loop may turn.
            successor = least_busy(slot, slots, workers)
            if successor is None:
                continue
        if foster is not None:
            slot.foster = None
            yield Unfoster(foster.number, slot.number)
        if successor is not None:
            slot.foster = successor.number
            yield Foster(successor.number, slot.number)


def least_busy(slot: Slot, slots: Mapping[int, Slot], workers: Mapping[int, Worker]) -> Worker | None:
    """The ready worker of another slot, not blocked itself, that fosters fewest slots and has least to do."""
    fosters = [other.foster for other in slots.values()]
    siblings = [
        worker
        for worker in workers.values()
        if worker.phase is Phase.READY and not worker.late and worker.slot != slot.number
    ]
    return min(
        siblings,
        key=lambda worker: (fosters.count(worker.number), worker.load, worker.number),
        default=None,
    )
