"""Who is started: the missing, a few at a time, and successors; and what follows if the first start fails.

Until a worker has been ready, failures are waited for, and then end the server.
"""

from __future__ import annotations

from dataclasses import dataclass

from reuseport.launcher.deciding.events import Blame, Reason
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.rollout import Rollout
from reuseport.launcher.deciding.roster import Roster


@dataclass(slots=True)
class FirstStart:
    """`over`: one was ready, and from then on whoever fails is tried again."""

    over: bool = False
    blame: Blame | None = None
    """Who must act, by the first failure."""

    def failed(self, blame: Blame) -> None:
        """A worker did not become ready."""
        if not self.over:
            self.blame = self.blame or blame

    def verdict(self) -> Blame | None:
        """Who must act if nobody else becomes ready; None while nothing has failed, and once it is over."""
        return None if self.over else self.blame


def fill(roster: Roster, rollout: Rollout, at_once: int, now: float) -> None:
    """Start the missing workers, as long as fewer than so many start."""
    starting = sum(worker.phase is Phase.STARTING for worker in roster.workers.values())
    for number in roster.wanted():
        slot = roster.slot(number, rollout.newest())
        if starting >= at_once:
            return
        if slot.missing() and not slot.full() and now >= slot.retry_at:
            roster.spawn(slot, slot.generation, slot.reason, now)
            starting += 1


def start_swaps(roster: Roster, rollout: Rollout, now: float) -> None:
    """Start the next planned replacements, as many as there is room for."""
    while (swap := rollout.next(lambda number: roster.slot(number, rollout.newest()), now)) is not None:
        slot = roster.slot(swap.slot, rollout.newest())
        reload = rollout.generation if swap.reason is Reason.RELOAD else None
        swap.successor = roster.spawn(slot, reload or slot.generation, swap.reason, now).number
