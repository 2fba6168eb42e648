"""Asks for the facts, and starts nothing that stays. What cannot be told is Unknown, and asks no further."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from reuseport.certificate import days_left, expiry
from reuseport.client.finding import is_launcher
from reuseport.doctor.facts import Facts, Known, Occupant, T, Unknown
from reuseport.doctor.pools import pools_of
from reuseport.doctor.service import systemd
from reuseport.kernel import capabilities, owners, probe, strangers
from reuseport.kernel.addresses import TCPAddress, parse_all, resolve
from reuseport.kernel.capabilities import Capability
from reuseport.launcher.host.limits import auto_workers, host_limits
from reuseport.settings.table import Settings

_INITIAL = ["0", "0", "4294967295"]
"""The only line of uid_map in the host's own user namespace (user_namespaces(7))."""
_MALLOCS = ("jemalloc", "tcmalloc", "mimalloc", "hoard", "snmalloc")


def gather(settings: Settings, *, application: bool, root: Path = Path("/")) -> Facts:
    """All of them. `application`: import it, in a process of its own, and look for pools.

    Raises ConfigurationError for addresses that are none.
    """
    limits = host_limits(root)
    decision = auto_workers(limits)
    addresses = [address for address in parse_all(settings.binds()) if isinstance(address, TCPAddress)]
    return Facts(
        settings=settings,
        workers=decision.workers if settings.workers == "auto" else settings.workers,
        reasoning=decision.reasoning.removeprefix("--workers auto: "),
        limits=limits,
        endpoints=len(addresses),
        ladder=_asked(probe.climb),
        bpf=_asked(lambda: bool(capabilities.held() & {Capability.BPF, Capability.SYS_ADMIN})),
        nested=_asked(lambda: (root / "proc/self/uid_map").read_text().split() != _INITIAL),
        seccomp=_seccomp(root),
        somaxconn=_asked(lambda: int((root / "proc/sys/net/core/somaxconn").read_text())),
        open_files=_asked(lambda: resource.getrlimit(resource.RLIMIT_NOFILE)),
        occupants=_asked(lambda: tuple(_occupants(addresses))),
        systemd=systemd(root),
        modules={name: find_spec(name) is not None for name in ("uvloop", "httptools")},
        pools=pools_of(settings) if application else None,
        threads=os.cpu_count() or 1,
        arenas=_arenas(),
        allocator=_allocator(),
        clock=_asked(
            lambda: (
                (root / "sys/devices/system/clocksource/clocksource0/current_clocksource").read_text().strip()
            )
        ),
        certificate=None if settings.ssl_certfile is None else _asked(lambda: _certificate(settings)),
    )


def _certificate(settings: Settings) -> float:
    ends = min(map(expiry, settings.certificates()))
    return days_left(ends, time.time())


def _asked(question: Callable[[], T]) -> T | Unknown:
    try:
        return question()
    except (OSError, ValueError) as error:
        return Unknown(str(error))


def _seccomp(root: Path) -> Known[bool]:
    path = root / "proc/self/status"
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        return Unknown(str(error))
    for line in lines:
        name, _, value = line.partition(":")
        if name == "Seccomp":
            return value.strip() != "0"
    return Unknown(f"{path} says nothing of Seccomp")


def _occupants(addresses: list[TCPAddress]) -> Iterator[Occupant]:
    """Each once, however many listeners it has."""
    seen = set()
    for address in addresses:
        if not address.port:
            continue
        for endpoint in resolve(address):
            for stranger in strangers.listeners_on(endpoint):
                holders = owners.holders(stranger.inode)
                launcher = next((pid for pid in holders if is_launcher(str(pid))), None)
                who = launcher or holders[:1] or (stranger.uid, stranger.address)
                if who not in seen:
                    seen.add(who)
                    yield Occupant(f"{stranger.describe()} on {stranger.address}", launcher)


def _arenas() -> int | None:
    tunables = dict(
        part.partition("=")[::2] for part in os.environ.get("GLIBC_TUNABLES", "").split(":") if part
    )
    said = os.environ.get("MALLOC_ARENA_MAX") or tunables.get("glibc.malloc.arena_max", "")
    return int(said) if said.isdecimal() else None


def _allocator() -> str:
    for library in os.environ.get("LD_PRELOAD", "").replace(":", " ").split():
        name = Path(library).name
        if any(known in name for known in _MALLOCS):
            return name
    return "glibc" if platform.libc_ver()[0] == "glibc" else "the C library's own"
