"""Zombies that are not workers: as PID 1 of a container the launcher inherits every orphan (wait(2))."""

from __future__ import annotations

import os
from collections.abc import Container


def reap(workers: Container[int]) -> list[int]:
    """Reap every dead child that is no worker; return the pids of dead workers met on the way, unreaped.

    The kernel offers dead children in no order that helps, and looking without reaping (WNOWAIT) shows the
    same one again: so the walk ends at the first worker. The caller reaps it and asks again, for what is
    behind it: one SIGCHLD may stand for several deaths (signal(7)), and no other follows.
    """
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return []
        if found is None:
            return []
        if found.si_pid in workers:
            return [found.si_pid]
        os.waitpid(found.si_pid, 0)
