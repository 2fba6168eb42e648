"""What an operator may ask of the supervisor, when it is refused, and what follows if not. Pure."""

from __future__ import annotations

from collections.abc import Collection

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.events import Reason, Request
from reuseport.launcher.deciding.rollout import Rollout
from reuseport.launcher.deciding.roster import Roster
from reuseport.launcher.deciding.slots import Slot


def objection(
    request: Request, target: int, capacity: int, drained: Collection[int], served: Collection[int]
) -> str | None:
    """Why a request is refused by a server that does not stop; None: it is carried out.

    `target` slots are wanted of at most `capacity`; of these `drained` are out of service and `served` have
    a worker that holds them.
    """
    match request:
        case ev.ScaleRequested(by) if not 1 <= target + by <= capacity:
            return f"{target} is the limit"
        case ev.ScaleTo(workers) if not 1 <= workers <= capacity:
            return f"the number of workers is 1 to {capacity}: the start has made room for no more"
        case ev.ScaleRequested(by) if _none_left(target + by, target, drained):
            return _ALL_DRAINED
        case ev.ScaleTo(workers) if _none_left(workers, target, drained):
            return _ALL_DRAINED
        case ev.DrainRequested(slot) | ev.RestartRequested(slot) if not 0 <= slot < target:
            return f"there is no slot {slot}: they are 0 to {target - 1}"
        case ev.DrainRequested(slot) if slot in drained:
            return "it is out of service already"
        case ev.DrainRequested(slot) if not set(served) - {slot}:
            return "no other slot serves: scale up first, or restart it instead"
        case _:
            return None


def carry_out(request: Request, roster: Roster, rollout: Rollout, now: float) -> None:
    """Do what nobody objects to; a stop is the supervisor's own."""
    match request:
        case ev.ReloadRequested():
            rollout.reload(now)
        case ev.ScaleRequested(by):
            roster.scale(roster.target + by, rollout.newest())
        case ev.ScaleTo(workers):
            roster.scale(workers, rollout.newest())
        case ev.DrainRequested(slot):
            roster.slot(slot, rollout.newest()).drained = True
            roster.report(reports.drained(slot))
        case ev.RestartRequested(slot):
            _restart(roster.slot(slot, rollout.newest()), roster, rollout, now)


def _restart(slot: Slot, roster: Roster, rollout: Rollout, now: float) -> None:
    serving = slot.serving()
    if serving is not None and not slot.drained:
        rollout.recycle(serving, Reason.RESTART, "somebody asked for it", now)
        return
    if slot.drained:
        # It may have missed a reload meanwhile.
        slot.generation = rollout.newest()
    slot.drained = False
    slot.reason = Reason.RESTART
    slot.retry_at = now
    roster.report(reports.restarted(slot.number))


_ALL_DRAINED = "all that would be left is out of service: restart a slot first"


def _none_left(workers: int, target: int, drained: Collection[int]) -> bool:
    """Nobody would be wanted then: the first crash in a slot that was scaled away would be the end."""
    return workers < target and set(range(workers)) <= set(drained)


def name(request: Request) -> str:
    """What it is called in a refusal."""
    match request:
        case ev.ReloadRequested():
            return "reload"
        case ev.ScaleRequested() | ev.ScaleTo():
            return "scaling"
        case ev.DrainRequested(slot):
            return f"draining slot {slot}"
        case ev.RestartRequested(slot):
            return f"restarting slot {slot}"
        case ev.StopRequested():
            return "stop"
