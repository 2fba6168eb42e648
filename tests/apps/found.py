"""What an application finds in its process: facts by name, none of which changes between two starts."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import json
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

LIMITS = ("AS", "CORE", "CPU", "DATA", "FSIZE", "MEMLOCK", "NOFILE", "NPROC", "STACK")
LOGGERS = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
STATUS = (
    "CapAmb",
    "CapBnd",
    "CapEff",
    "CapPrm",
    "Gid",
    "Groups",
    "NoNewPrivs",
    "Seccomp",
    "SigBlk",
    "Uid",
    "Umask",
)


async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Answers with all of them, to whatever is asked."""
    assert scope["type"] == "http"
    body = json.dumps(facts(scope)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


def facts(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    loggers = {name: logging.getLogger(name) for name in LOGGERS}
    return {
        "argv": sys.argv[1:],
        "__main__": sys.modules["__main__"].__name__,
        "sys.path": sys.path,
        "sys.flags": str(sys.flags),
        "hooks": [hook.__name__ for hook in (sys.excepthook, sys.displayhook, threading.excepthook)],
        "recursion, switch interval": [sys.getrecursionlimit(), sys.getswitchinterval()],
        "directory": str(Path.cwd()),
        "environment": sorted(os.environ),
        "parent_process": str(multiprocessing.parent_process()),
        "daemon": multiprocessing.current_process().daemon,
        "start method": multiprocessing.get_start_method(),
        "signals": {
            number.name: getattr(signal.getsignal(number), "__name__", str(signal.getsignal(number)))
            for number in signal.valid_signals()
            if isinstance(number, signal.Signals)
        },
        "stdin": str(Path("/proc/self/fd/0").resolve()),
        "session": [os.getsid(0) == os.getpgid(0), os.getpgid(0) == os.getppid()],
        "nice": os.nice(0),
        "affinity": sorted(os.sched_getaffinity(0)),
        "oom_score_adj": Path("/proc/self/oom_score_adj").read_text(),
        "limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in LIMITS},
        "status": {name: status[name] for name in STATUS},
        "warnings": len(warnings.filters),
        "collector": [gc.get_threshold(), gc.isenabled()],
        "faulthandler": faulthandler.is_enabled(),
        "loop": [type(asyncio.get_running_loop()).__module__, asyncio.get_running_loop().get_debug()],
        "loggers": {name: [log.level, log.propagate, len(log.handlers)] for name, log in loggers.items()},
        "scope": sorted(scope),
        "extensions": sorted(scope.get("extensions", {})),
        "asgi": scope["asgi"],
    }
