"""What the doctor knows, as plain data. Whatever had to be asked may be Unknown, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from reuseport.kernel.probe import Ladder
from reuseport.launcher.host.limits import Limits
from reuseport.settings.table import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unknown:
    """The third answer: it could not be told, and why."""

    why: str


Known: TypeAlias = T | Unknown


@dataclass(frozen=True, slots=True)
class Occupant:
    """Somebody who listens where we would. `who`: such as "pid 812 (nginx, user www-data) on 0.0.0.0:80"."""

    who: str
    launcher: int | None = None
    """Its pid, if it is one of ours, which can be asked."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A service of systemd's that starts us. Seconds; None: for ever."""

    name: str
    type: str
    stop_timeout: float | None
    open_files: int | None


@dataclass(frozen=True, slots=True)
class Systemd:
    """The service manager of this host. `version`: 0 where there is none."""

    version: int
    units: tuple[Unit, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """Connections to a database that one worker may open. `what`: such as "sqlalchemy QueuePool"."""

    what: str
    most: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Of this host, for these settings."""

    settings: Settings
    workers: int
    reasoning: str
    """How `--workers auto` comes about."""
    limits: Limits
    endpoints: int
    """TCP addresses; with none of them the kernel has nothing to choose."""
    ladder: Known[Ladder]
    bpf: Known[bool]
    """CAP_BPF, or CAP_SYS_ADMIN, is in effect."""
    nested: Known[bool]
    """We are in a user namespace of somebody's."""
    seccomp: Known[bool]
    """A filter of system calls is in force."""
    somaxconn: Known[int]
    open_files: Known[tuple[int, int]]
    """RLIMIT_NOFILE, soft and hard; -1: no limit."""
    occupants: Known[tuple[Occupant, ...]]
    systemd: Known[Systemd]
    modules: Mapping[str, bool]
    """Whether uvloop and httptools can be had."""
    pools: Known[tuple[Pool, ...]] | None
    """None: no application was named."""
    threads: int
    """CPUs of the host, by which glibc counts its arenas."""
    arenas: int | None
    """MALLOC_ARENA_MAX."""
    allocator: str
    """Of the workers: glibc, musl, or the library that LD_PRELOAD names."""
    clock: Known[str]
    certificate: Known[float] | None
    """Days until the first certificate ends; None: no TLS."""
