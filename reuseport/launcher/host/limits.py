"""`--workers auto`: how many workers this host, or this container, has room for.

Reading (`host_limits`) and deciding (`auto_workers`) are apart, so that the decision is plain arithmetic.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from reuseport.launcher.host.cgroup import CannotTell, find_cgroup, read_file
from reuseport.records import record

# What a worker of an ordinary application (framework, templates, database driver) is assumed to take. The
# demo takes a quarter of it, a large application several times as much: it only has to keep `auto` from
# starting more workers than survive their first requests. An operator who knows better gives a number.
MEMORY_PER_WORKER = 128 * 1024**2

Number = TypeVar("Number", int, float)


@record(frozen=True, slots=True)
class Limits:
    """What the host grants us. None: no such limit. `unknown` says in words what could not be told."""

    cpus_affinity: int  # CPUs we may be scheduled on, cpusets included
    cpu_quota: float | None = None  # CPUs worth of time, by the strictest cgroup above us
    memory_limit: int | None = None  # bytes, by the strictest cgroup above us
    ram: int | None = None  # bytes of physical memory
    unknown: tuple[str, ...] = ()


@record(frozen=True, slots=True)
class Decision:
    """A number of workers, and the line for the log that says where it comes from."""

    workers: int
    reasoning: str


def auto_workers(limits: Limits) -> Decision:
    """One worker per CPU we really have, at least one, fewer where memory would not hold them."""
    rooms = [limits.cpus_affinity]
    reasons = [f"{_cpus(limits.cpus_affinity)} by affinity"]
    if limits.cpu_quota is not None:
        # Rounded up: half a CPU of quota is idle CPU time unless somebody is there to use it.
        rooms.append(math.ceil(limits.cpu_quota))
        reasons.append(f"cgroup quota {_cpus(limits.cpu_quota)}")
    if (least := _least_memory(limits)) is not None:
        memory, name = least
        rooms.append(max(1, memory // MEMORY_PER_WORKER))
        reasons.append(f"{name} {_bytes(memory)} allows {rooms[-1]}")
    reasons += [f"could not tell: {why}" for why in limits.unknown]
    workers = max(1, min(rooms))
    return Decision(workers, f"--workers auto: {workers} ({', '.join(reasons)})")


@record(frozen=True, slots=True)
class Room:
    """How many workers a reload may add, and the line for the log where that is fewer than asked for.

    `strictly`: memory is short, so none that was replaced may still be there when the next one starts.
    """

    at_once: int
    strictly: bool
    reasoning: str = ""


def reload_room(limits: Limits, workers: int, at_once: int) -> Room:
    """As many as asked for; one, and strictly so, where memory would not hold them by the same arithmetic."""
    least = _least_memory(limits)
    if least is None or (workers + at_once) * MEMORY_PER_WORKER <= least[0]:
        return Room(at_once, strictly=False)
    memory, name = least
    rule = "a reload starts one worker at a time, and the next when the predecessor is gone"
    return Room(
        1,
        strictly=True,
        reasoning=f"{rule}: {name} {_bytes(memory)} has no room for {workers + at_once} workers"
        f" of {_bytes(MEMORY_PER_WORKER)}",
    )


def _least_memory(limits: Limits) -> tuple[int, str] | None:
    bounds = ((limits.memory_limit, "memory limit"), (limits.ram, "RAM"))
    return min(((memory, name) for memory, name in bounds if memory is not None), default=None)


def host_limits(root: Path = Path("/")) -> Limits:
    """Affinity of this process (sched_getaffinity(2)) and what `proc` and the cgroup mounts under `root` say.

    Never raises for what it finds there: a file that cannot be understood becomes a line in `Limits.unknown`.
    """
    unknown: list[str] = []
    return Limits(
        cpus_affinity=len(os.sched_getaffinity(0)),
        cpu_quota=_strictest("cpu", {1: _cpu_quota_v1, 2: _cpu_quota_v2}, root, unknown),
        memory_limit=_strictest("memory", {1: _memory_limit_v1, 2: _memory_limit_v2}, root, unknown),
        ram=_ram(root, unknown),
        unknown=tuple(unknown),
    )


def _strictest(
    controller: str, readers: dict[int, Callable[[Path], Number | None]], root: Path, unknown: list[str]
) -> Number | None:
    """The smallest limit from our own cgroup up: a parent's limit holds for all its descendants together."""
    try:
        cgroup = find_cgroup(controller, root)
    except CannotTell as why:
        unknown.append(str(why))
        return None
    if cgroup is None:
        return None
    found: list[Number] = []
    for directory in cgroup.directories:
        try:
            limit = readers[cgroup.version](directory)
        except CannotTell as why:
            unknown.append(str(why))
            continue
        if limit is not None:
            found.append(limit)
    return min(found, default=None)


def _cpu_quota_v2(directory: Path) -> float | None:
    """`cpu.max`: "QUOTA PERIOD" or "max PERIOD", microseconds (cgroup-v2.rst)."""
    path = directory / "cpu.max"
    if (text := read_file(path)) is None:
        return None
    quota, _, period = text.strip().partition(" ")
    return None if quota == "max" else _positive(path, quota) / _positive(path, period)


def _cpu_quota_v1(directory: Path) -> float | None:
    """`cpu.cfs_quota_us` over `cpu.cfs_period_us`; a quota of -1 is none (scheduler/sched-bwc.rst)."""
    quota, period = directory / "cpu.cfs_quota_us", directory / "cpu.cfs_period_us"
    if (text := read_file(quota)) is None or text.strip() == "-1":
        return None
    return _positive(quota, text) / _positive(period, read_file(period) or "")


def _memory_limit_v2(directory: Path) -> int | None:
    """The lower of `memory.max` and `memory.high`, above which processes are throttled (cgroup-v2.rst)."""
    texts = {path: read_file(path) for path in (directory / "memory.max", directory / "memory.high")}
    limits = [_positive(path, text) for path, text in texts.items() if text and text.strip() != "max"]
    return min(limits, default=None)


def _memory_limit_v1(directory: Path) -> int | None:
    """`memory.limit_in_bytes`; unlimited reads as LONG_MAX rounded down to a page (mm/memcontrol-v1.c)."""
    path = directory / "memory.limit_in_bytes"
    if (text := read_file(path)) is None:
        return None
    limit = _positive(path, text)
    return None if limit >= 2**62 else limit


def _ram(root: Path, unknown: list[str]) -> int | None:
    path = root / "proc/meminfo"
    try:
        for line in (read_file(path) or "").splitlines():
            if line.startswith("MemTotal:"):
                return _positive(path, line.removeprefix("MemTotal:").removesuffix("kB")) * 1024
    except CannotTell as why:
        unknown.append(str(why))
    return None


def _positive(path: Path, text: str) -> int:
    """The number in `text`. A limit of nothing is as unusable as no number: nobody could be reading it."""
    text = text.strip()
    # Twenty digits hold any 64-bit number; isdigit() alone would let in what int() refuses, "²" for one.
    if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) > 0:
        return int(text)
    raise CannotTell(f"{path} has {text[:40]!r} where a number should be")


def _cpus(number: float) -> str:
    return "1 CPU" if number == 1 else f"{number:.4g} CPUs"


def _bytes(number: int) -> str:
    return f"{number / 1024**3:.1f} GiB" if number >= 1024**3 else f"{number / 1024**2:.0f} MiB"
