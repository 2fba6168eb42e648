"""Whom to ask what they execute: who takes long to start or to turn, and again before patience ends."""

from __future__ import annotations

from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.roster import Roster


def look(roster: Roster, now: float) -> None:
    """Ask everybody whose time for that has come."""
    policy = roster.policy
    for worker in roster.workers.values():
        if worker.look_at is None or now < worker.look_at:
            continue
        ends = worker.deadline
        if worker.phase is Phase.STALLED and policy.worker_timeout:
            ends = worker.heard_at + policy.worker_timeout
        if worker.phase in (Phase.STARTING, Phase.STALLED):
            roster.look(worker, None if ends is None else ends - policy.last_look, now)
        else:
            worker.look_at = None


def seen(roster: Roster, number: int, where: str, now: float) -> None:
    """What one has answered, if it has not gone meanwhile."""
    worker = roster.workers.get(number)
    if worker is None:
        return
    worker.where = where
    if worker.phase is Phase.STARTING and not worker.looked_at:
        worker.looked_at = True
        roster.report(reports.still_starts(worker, now))
