"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Any

import psutil

from bench.kit.versions import FROM_NPM, PROGRAMS, version_of

SYSCTLS = (
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_migrate_req",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_tw_reuse",
    "kernel/unprivileged_bpf_disabled",
)
PACKAGES = (
    "reuseport",
    "uvicorn",
    "uvloop",
    "httptools",
    "starlette",
    "gunicorn",
    "uvicorn-worker",
    "hypercorn",
    "granian",
    *FROM_NPM,
    *PROGRAMS,
)


def described() -> dict[str, Any]:
    """Kernel, cores, memory, sysctls of this network namespace, and versions."""
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "root": os.geteuid() == 0,
        "python": platform.python_version(),
        "sysctls": {name.replace("/", "."): _sysctl(name) for name in SYSCTLS},
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*:\s*(.+)$", told, re.MULTILINE)
    return found[1] if found else "not told"


def _sysctl(name: str) -> str:
    try:
        return " ".join(Path("/proc/sys", name).read_text(encoding="ascii").split())
    except OSError as error:
        return f"not readable: {error.strerror}"


def _version(name: str) -> str:
    try:
        return version_of(name)
    except ImportError as error:
        return str(error)
