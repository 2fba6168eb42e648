"""--reload, the helper process: uvicorn's own file watcher; each change sends the launcher SIGHUP."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from uvicorn.config import Config
from uvicorn.supervisors import ChangeReload

from reuseport import logs
from reuseport.settings.table import Settings
from reuseport.worker.begin import begin

log = logging.getLogger("reuseport")


def main() -> int:
    """Watch until the launcher ends us, or is gone: the kernel kills us with it."""
    _, order, _ = begin(sys.argv[1:])
    settings = Settings.from_json(order.settings)
    logs.configure(settings, logs.Place("watcher"))
    launcher = os.getppid()
    config = Config(
        settings.app,
        log_config=None,
        reload=True,
        reload_dirs=list(settings.reload_dirs) or None,
        reload_includes=list(settings.reload_includes) or None,
        reload_excludes=list(settings.reload_excludes) or None,
        reload_delay=settings.reload_delay,
    )
    changes: Iterable[Sequence[Path] | None] = ChangeReload(config, target=_nothing, sockets=[])
    for changed in changes:
        if changed:
            log.info("changed: %s", ", ".join(map(str, changed)))
            os.kill(launcher, signal.SIGHUP)
    return 0


def _nothing(*_: object) -> None:
    """The reloader would run this; it is only asked for changes."""
