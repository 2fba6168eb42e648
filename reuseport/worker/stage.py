"""What the application finds: everything as under `uvicorn --workers`; what it cannot hurt: our own imports.

In this order. What a worker itself needs is imported first, so that a project may have a platform.py, an
email.py or a click.py of its own; only then the project's directory stands first on sys.path.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.process
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from uvicorn.config import HTTP_PROTOCOLS, LOOP_FACTORIES, WS_PROTOCOLS

from reuseport import surroundings
from reuseport.settings.table import Settings

_LATER = (
    "asyncio.base_events",
    "concurrent.futures.thread",
    "hashlib",
    "reuseport.worker.collector",
    "reuseport.worker.control",
    "reuseport.worker.footprint",
    "reuseport.worker.hooks",
    "reuseport.worker.inbox",
    "reuseport.worker.meter",
    "reuseport.worker.offspring",
    "reuseport.worker.protocol.count",
    "reuseport.worker.protocol.load",
    "reuseport.worker.rescue",
    "reuseport.worker.server",
    "reuseport.worker.stealing",
    "uvicorn.lifespan.off",
    "uvicorn.lifespan.on",
)
"""What would be imported only when it is needed."""

log = logging.getLogger("reuseport")


def set_stage(settings: Settings, slot: int) -> Settings:
    """Import what is ours, then be as the application expects. Returns the settings as they hold from here.

    Call it before logging is set up: --log-config may name what is the project's own.
    """
    import_ours(settings)
    settings = _in_place(settings)
    be_a_child(slot)
    return settings


def path_for(settings: Settings) -> list[str]:
    """sys.path as the application expects it."""
    place = surroundings.given.place
    with contextlib.suppress(FileNotFoundError):
        place = str(Path.cwd())
    return surroundings.given.for_application(settings.app_dir, place)


def _in_place(settings: Settings) -> Settings:
    sys.path[:] = path_for(settings)
    sys.argv[:] = surroundings.given.argv
    return replace(
        settings,
        log_file=_where_opened(settings.log_file),
        access_log_file=_where_opened(settings.access_log_file),
    )


def tell_where_we_are() -> None:
    """Say so if the launcher's directory is not to be had by its name any more. Logging must be set up."""
    name = surroundings.given.directory
    try:
        if not name or Path(name).samefile(""):
            return
    except PermissionError:
        return  # as root the launcher could enter it, and did so for us
    except OSError as error:
        log.warning("%s: %s; serving from what was there when the launcher was started", name, error.strerror)


def import_what_all_need() -> None:
    """What a worker needs with any settings, and would import later."""
    _import(_LATER)


def import_ours(settings: Settings) -> None:
    """The same, and what it needs with these settings."""
    import_what_all_need()
    # What uvicorn's two factories import when they are called.
    loops = ("uvloop", "uvicorn.loops.uvloop") if settings.loop in ("auto", "uvloop") else ()
    sticky = ("reuseport.worker.sticky.movable", "reuseport.worker.sticky.taking_part")
    ours = [*(sticky if settings.sticky else ())]
    if settings.log_config is not None:
        ours.append("reuseport.logs.operators")
    protocols = (
        *loops,
        LOOP_FACTORIES.get(settings.loop),
        HTTP_PROTOCOLS.get(settings.http),
        WS_PROTOCOLS.get(settings.ws),
    )
    _import((*ours, *(target.partition(":")[0] for target in protocols if target)))


def _import(names: Iterable[str]) -> None:
    for name in names:
        # What is missing may lie where the application does; if not, whoever needs it says so.
        with contextlib.suppress(ImportError):
            import_module(name)


def _where_opened(path: str | None) -> str | None:
    """A log file is the launcher's, in whose directory we perhaps are no more."""
    return path if path in (None, "-") else str(Path(surroundings.given.place, path))


def be_a_child(slot: int) -> None:
    """To multiprocessing we are what it had started with the method "spawn".

    Applications ask it whether they are the first process, and which of many (multiprocessing.process).
    """
    if (before := multiprocessing.parent_process()) is not None:
        os.close(before.sentinel)  # of the mold's that we were forked from: each has its own
    ours = multiprocessing.current_process()
    ours.name = f"SpawnProcess-{slot + 1}"
    ours._identity = (slot + 1,)
    parent = os.getppid()
    # A pidfd is readable when the process is gone, as the pipe is that multiprocessing has for it.
    multiprocessing.process._parent_process = multiprocessing.process._ParentProcess(  # type: ignore[attr-defined]
        "MainProcess", parent, os.pidfd_open(parent)
    )
