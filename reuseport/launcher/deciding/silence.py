"""Whose event loop turns and whose does not: by heartbeats, and by clients that wait in vain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.events import Report
from reuseport.launcher.deciding.phases import Cue, Phase, after
from reuseport.launcher.deciding.slots import Policy, Worker


def listen(worker: Worker, pulse: int, now: float, policy: Policy) -> Report | None:
    """Take in a heartbeat, or that there is none; what is to be told of it."""
    if pulse != worker.pulse:
        told = None
        if worker.phase is Phase.STALLED:
            told = reports.turns_again(worker, now - worker.heard_at)
            worker.phase = after(worker.phase, Cue.TURNING)
            worker.look_at = None
        worker.pulse = pulse
        worker.heard_at = now
        worker.late = False
        if worker.stuck_at is not None and now - worker.stuck_at >= policy.stuck_for:
            worker.stuck_at = None
        return told
    if worker.stuck_at is not None:
        worker.stuck_at = now
    silent = now - worker.heard_at
    # The kernel passes over who has nothing to do after as long a silence. Clients who wait for one that
    # rests, and does not wake, are told of by Stuck.
    allowed = policy.stall_after + (0.0 if worker.load else policy.rest)
    if worker.phase is Phase.READY and silent >= allowed:
        worker.phase = after(worker.phase, Cue.SILENT)
        worker.look_at, worker.where = now, ""
        return reports.stalled(worker, silent)
    return None


def hangs(worker: Worker, now: float, policy: Policy) -> str | None:
    """Why it has been silent for too long; None: it has not."""
    silent = now - worker.heard_at
    if worker.phase is not Phase.STALLED or not 0 < policy.worker_timeout <= silent:
        return None
    return reports.hang(worker, silent)


def stick(
    workers: Iterable[Worker],
    stuck: frozenset[int],
    late: frozenset[int],
    loads: Mapping[int, int],
    now: float,
) -> None:
    """Clients wait in the accept queues of the slots `stuck`; the workers `late` are not to help."""
    for worker in workers:
        worker.late = worker.number in late
        worker.load = loads.get(worker.number, worker.load)
        if worker.slot in stuck and worker.phase is Phase.READY:
            worker.stuck_at = now
