"""PROMETHEUS_MULTIPROC_DIR: where workers whose application uses prometheus_client keep their figures.

A file for each worker and kind of metric, named by pid; whichever worker is asked adds all files up. The
library leaves to whoever runs the workers what none of them can do: to begin with an empty directory, and to
take away what was true of a worker only while it lived. It is not imported for that.

The directory is the workers' user's, and so may be what lies there, or where its name leads: files are
removed as that user.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path

from reuseport.errors import ConfigurationError
from reuseport.launcher.host.acting import acting_as
from reuseport.launcher.host.identity import Identity, Need, require_access

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

LIVE = ("liveall", "livemin", "livemax", "livesum", "livemostrecent")
"""Kinds of gauges that end with their worker (prometheus_client/multiprocess.py, mark_process_dead)."""

# prometheus_client/values.py, MmapedValue: kind, for gauges also how they are added up, and the pid, or what
# the application has put in its place.
_WRITTEN = re.compile(r"(?:counter|summary|histogram|gauge_(?:live)?(?:all|min|max|sum|mostrecent))_.+\.db")

log = logging.getLogger("reuseport")


def prepare(environment: Mapping[str, str], identity: Identity | None) -> None:
    """Have the directory there, empty and the workers' to write to, if one is named.

    Call it when the port is ours: a second start must not wipe what the first one's workers count. Raises
    ConfigurationError.
    """
    if not environment.get(VARIABLE):
        return
    directory = Path(environment[VARIABLE])
    try:
        if not directory.is_dir():
            _make(directory, identity)
        if identity is not None:
            require_access(identity, [Need(VARIABLE, str(directory), os.R_OK | os.W_OK | os.X_OK)])
        with acting_as(identity):
            _empty(directory)
    except OSError as error:
        raise ConfigurationError(
            f"{VARIABLE} {directory} cannot be used: {error.filename}: {error.strerror}; name a directory"
            " that workers may write to, or one that can be made"
        ) from error
    if identity is None and not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{VARIABLE} {directory} cannot be written to: let us, or name another")


def _empty(directory: Path) -> None:
    found = [path for path in directory.iterdir() if path.suffix == ".db"]
    # The library would take any file of this ending for one of its own; we do not delete it for that.
    if strange := [path.name for path in found if not _WRITTEN.fullmatch(path.name)]:
        raise ConfigurationError(
            f"{VARIABLE} {directory} holds {strange[0]}, which prometheus_client did not write: name a"
            " directory that nothing else uses"
        )
    for path in found:
        path.unlink()


def _make(directory: Path, identity: Identity | None) -> None:
    directory.mkdir(mode=0o700)
    if identity is not None:
        # By descriptor: meanwhile somebody may have put a link to another place there.
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchown(fd, identity.uid, identity.gid)
        finally:
            os.close(fd)


def mark_dead(environment: Mapping[str, str], pid: int, identity: Identity | None) -> None:
    """A worker is gone: so is what was true while it lived. What it has counted stays."""
    if not environment.get(VARIABLE):
        return
    try:
        with acting_as(identity):
            for kind in LIVE:
                Path(environment[VARIABLE], f"gauge_{kind}_{pid}.db").unlink(missing_ok=True)
    except OSError as error:
        log.warning("a gauge of pid %d goes on without it: %s", pid, error)
