"""Who accepts for whom: a sibling for every slot where clients connect and nobody accepts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reuseport.launcher.deciding.events import Tell
from reuseport.launcher.deciding.phases import SERVING, Phase
from reuseport.launcher.deciding.slots import Slot, Worker
from reuseport.messages import Foster, Unfoster


def arrange(slots: Mapping[int, Slot], workers: Mapping[int, Worker], now: float) -> Iterator[Tell]:
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
            successor = least_busy(slot, slots, workers, now)
            if successor is None:
                continue
        if foster is not None:
            slot.foster = None
            yield Tell(foster.number, Unfoster(slot.number))
        if successor is not None:
            slot.foster = successor.number
            yield Tell(successor.number, Foster(slot.number))


def least_busy(
    slot: Slot, slots: Mapping[int, Slot], workers: Mapping[int, Worker], now: float
) -> Worker | None:
    """The ready worker of another slot, neither blocked nor excused, with fewest fosters and least to do."""
    fosters = [other.foster for other in slots.values()]
    siblings = [
        worker
        for worker in workers.values()
        if worker.phase is Phase.READY
        and not worker.late
        and worker.excused_until <= now
        and worker.slot != slot.number
    ]
    return min(
        siblings,
        key=lambda worker: (fosters.count(worker.number), worker.load, worker.number),
        default=None,
    )
