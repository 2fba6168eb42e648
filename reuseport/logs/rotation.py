"""The log files of this process: opened again when they were rotated, and given to the workers' user."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterator
from typing import IO

from reuseport.logs.relay import Relayed

log = logging.getLogger("reuseport")


def reopen() -> None:
    """Open every log file of this process anew by its name; one that cannot be opened is kept."""
    for handler in _open_files():
        try:
            fresh = handler._open()
        except OSError as error:
            # Not closed first and left to FileHandler.emit: there the error would hit whoever logs.
            log.error("%s goes on in the old file: %s", handler.baseFilename, error)  # noqa: TRY400 - no defect
            continue
        old = handler.setStream(fresh)
        if old is not None:
            old.close()


def files() -> list[str]:
    """Absolute paths of the log files that this process has open."""
    return sorted({handler.baseFilename for handler in _open_files()})


def give_files_to(uid: int) -> None:
    """Make this user the owner of our open log files, who then can open them, too.

    Only of a file that nobody else can have put there, and that has no other name: who may write to the
    directory could move another file of ours to that place, and would be given it. The group stays: it says
    who may read. Where it cannot be done nothing is said here: whoever opens the file finds out, and knows
    whether it matters.
    """
    for handler, stream in _open_files().items():
        status = os.fstat(stream.fileno())
        kept = stat.S_ISREG(status.st_mode) and (status.st_nlink, status.st_uid) == (1, os.geteuid())
        if kept and getattr(handler, "ours", False):
            with contextlib.suppress(PermissionError):
                os.fchown(stream.fileno(), uid, -1)


def _open_files() -> dict[logging.FileHandler, IO[str]]:
    return {
        handler: handler.stream
        for handler in handlers()
        if isinstance(handler, logging.FileHandler) and handler.stream is not None
    }


def handlers() -> Iterator[logging.Handler]:
    """All that any logger has."""
    seen = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in seen:
        if isinstance(logger, logging.Logger):
            for handler in logger.handlers:
                yield handler.target if isinstance(handler, Relayed) else handler
