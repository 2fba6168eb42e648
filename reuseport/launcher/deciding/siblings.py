"""Who may accept for whom without being asked: each worker for a few siblings, while they are blocked. Pure.

The kernel wakes those who wait for a listener in the order in which they came, and the slot's own worker is
to be the first. So whenever a slot has a new one, others are told of the slot again, and wait behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reuseport.launcher.deciding.events import Tell
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.slots import Slot, Worker
from reuseport.messages import Sibling

NEAR = 16
"""Siblings each worker may accept for, the next ones in turn: every one costs it some descriptors, and a
connection that finds its worker busy some 100 ns. Of 64 idle workers 16 are as good as all."""


def introduce(worker: Worker, slots: Mapping[int, Slot], target: int) -> Iterator[Tell]:
    """A worker serves its slot: tell it of its siblings, and those of it whose sibling it is."""
    yield from acquaint(worker, slots, target)
    for slot, other in _serving(slots):
        # One that does not turn hears it all when it does: meanwhile it would only keep what it is sent.
        if near(slot, worker.slot, target) and other.phase is Phase.READY:
            yield Tell(other.number, Sibling(worker.slot))


def acquaint(worker: Worker, slots: Mapping[int, Slot], target: int) -> Iterator[Tell]:
    """Tell it of its siblings: it is ready, or turns again and may have missed some."""
    for slot, _ in _serving(slots):
        if near(worker.slot, slot, target):
            yield Tell(worker.number, Sibling(slot))


def _serving(slots: Mapping[int, Slot]) -> Iterator[tuple[int, Worker]]:
    return ((slot.number, worker) for slot in slots.values() if (worker := slot.serving()) is not None)


def near(slot: int, other: int, target: int) -> bool:
    """Whether the worker of `slot` accepts for the `other` one."""
    return 0 < (other - slot) % target <= NEAR
