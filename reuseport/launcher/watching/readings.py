"""What the scoreboard has on a worker, and on its event loop the kernel."""

from __future__ import annotations

from reuseport.launcher.deciding.burden import Reading
from reuseport.launcher.deciding.slots import Worker
from reuseport.scoreboard import Desk, Scoreboard


def read(scoreboard: Scoreboard, worker: Worker, pid: int) -> Reading:
    """One look at the worker's desk and, if it has anything to do, at its main thread."""
    desk = scoreboard.desk(worker.slot, worker.desk)
    return Reading(
        worker=worker.number,
        ready=worker.attends() and not worker.leaving,
        heartbeat=desk[Desk.HEARTBEAT],
        load=desk[Desk.LOAD],
        work=desk[Desk.WORK],
        requests=desk[Desk.REQUESTS],
        cpu=desk[Desk.CPU],
        lag=desk[Desk.LAG],
        active=desk[Desk.ACTIVE],
        rebalanced=desk[Desk.REBALANCED],
        awake=awake(pid) if desk[Desk.ACTIVE] else None,
    )


def awake(pid: int) -> int | None:
    """Nanoseconds for which the process's main thread has run, or waited to be run, ever.

    /proc/PID/schedstat (Documentation/scheduler/sched-stats.rst in the kernel's source). None where it cannot
    be had: a kernel without CONFIG_SCHED_INFO, a sandbox.
    """
    try:
        with open(f"/proc/{pid}/schedstat", "rb", buffering=0) as stream:  # noqa: PTH123 - four times a second
            ran, waited, _ = stream.read().split()
    except (OSError, ValueError):
        return None
    return int(ran) + int(waited)
