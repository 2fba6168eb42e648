"""Judges of the room there is: descriptors, CPUs, memory."""

from __future__ import annotations

import math

from reuseport.client.text import size
from reuseport.doctor.facts import Facts, Unknown
from reuseport.doctor.judging import Grade, Line, untold
from reuseport.kernel.descriptors import ENOUGH, few, granted
from reuseport.launcher.host.limits import MEMORY_PER_WORKER

PER_WORKER = 7
"""Descriptors of the launcher's, for each worker."""
OWN = 64
"""Those that a process needs beside: the launcher for its sockets and logs, a worker for the application."""


def open_files(facts: Facts) -> Line:
    """LimitNOFILE against connections: every process has what the hard limit allows."""
    topic = "open files"
    if isinstance(facts.open_files, Unknown):
        return untold(topic, facts.open_files)
    soft = granted(*facts.open_files)
    wanted = max(65536, (facts.settings.limit_concurrency or 0) + OWN, PER_WORKER * facts.workers + OWN)
    give = f"ulimit -n {wanted}; systemd: LimitNOFILE={wanted}; docker run --ulimit nofile={wanted}"
    for each in () if isinstance(facts.systemd, Unknown) else facts.systemd.units:
        if each.open_files is not None and each.open_files < ENOUGH:
            text = f"{each.name} has {each.open_files}, whatever there are here"
            edit = f"systemctl edit {each.name}: [Service] LimitNOFILE={wanted}"
            return Line(topic, Grade.WARN, text, edit)
    if soft < 0:
        return Line(topic, Grade.GOOD, "no limit")
    least = PER_WORKER * facts.workers + OWN
    if soft < least:
        return Line(topic, Grade.BAD, f"{soft} are too few for {facts.workers} workers: {least}", give)
    connections = soft - OWN
    most = facts.settings.limit_concurrency
    if most is not None and connections < most:
        text = f"{soft} leave a worker {connections} connections, and --limit-concurrency is {most}"
        return Line(topic, Grade.WARN, text, give)
    if few(soft) and most is None:
        return Line(topic, Grade.WARN, f"{soft} leave a worker some {connections} connections", give)
    return Line(topic, Grade.GOOD, f"{soft:,}: some {connections:,} connections a worker")


def cpus(facts: Facts) -> Line:
    """Workers against affinity and the cgroup's quota."""
    topic, limits = "CPUs", facts.limits
    room = limits.cpus_affinity
    if limits.cpu_quota is not None:
        room = min(room, math.ceil(limits.cpu_quota))
    if facts.settings.workers == "auto":
        return Line(topic, Grade.GOOD, facts.reasoning)
    if facts.workers > room:
        text = f"{facts.workers} workers share {room} by affinity and cgroup quota"
        return Line(topic, Grade.NOTE, text, "--workers auto")
    if facts.workers < room:
        text = f"{facts.workers} of {room} are used: a worker computes on one at a time"
        return Line(topic, Grade.NOTE, text, "--workers auto")
    return Line(topic, Grade.GOOD, f"{room}, a worker each")


def memory(facts: Facts) -> Line:
    """Workers against the cgroup's limit and the host's memory; a reload needs more while it runs."""
    topic, limits = "memory", facts.limits
    known = [bound for bound in (limits.memory_limit, limits.ram) if bound is not None]
    if not known:
        return untold(topic, Unknown("; ".join(limits.unknown) or "neither limit nor RAM is known"))
    room, most = min(known), facts.settings.worker_max_rss
    each = most or MEMORY_PER_WORKER
    what = "--worker-max-rss" if most else "assumed"
    steady, reloading, all_drain = (
        facts.workers * each,
        (facts.workers + 1) * each,
        2 * facts.workers * each,
    )
    workers = "1 worker" if facts.workers == 1 else f"{facts.workers} workers"
    verb = "is" if facts.workers == 1 else "are"
    said = f"{workers} of {size(each)} ({what}) {verb} {size(steady)} of {size(room)}"
    fewer = f"--workers {max(1, room // each - 1)}"
    if steady > room:
        return Line(topic, Grade.WARN, said, fewer)
    if reloading > room:
        return Line(topic, Grade.WARN, f"{said}; a reload needs {size(reloading)}, at least", fewer)
    if all_drain > room:
        text = f"{said}; up to {size(all_drain)} while a reload's predecessors still drain"
        return Line(topic, Grade.NOTE, text, "--graceful-timeout 10s, or fewer workers")
    return Line(topic, Grade.GOOD, f"{said}; {size(all_drain)} at most while a reload runs")
