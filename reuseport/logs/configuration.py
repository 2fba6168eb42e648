"""Setting logging up in a process: by the flags, or by the operator's own file."""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import TextIO

from reuseport.errors import ConfigurationError
from reuseport.logs.lines import LAUNCHER, Place, formatter, label_records, label_records_at
from reuseport.logs.opening import LogFile, UnfitError, guarded
from reuseport.logs.rotation import handlers
from reuseport.settings.table import Settings

log = logging.getLogger("reuseport")

TRACE = 5
"""uvicorn's level below DEBUG."""

_DESCRIPTOR = re.compile(r"/dev/(stdin|stdout|stderr)|(?:/dev|/proc/self|/proc/thread-self)/fd/(\d{1,9})")


def configure_launcher(settings: Settings, place: Place = LAUNCHER) -> None:
    """Set up logging where nothing of the application's is imported, and where we may be root.

    Raises as `configure`.
    """
    missing: list[str] = []

    def apply_leniently(path: str) -> None:
        # Here: it brings logging.config along, with all that its handlers may need.
        from reuseport.logs.operators import apply_without

        missing.extend(apply_without(settings.app, path, partial(formatter, settings, place)))

    with guarded():
        _configure(settings, place, apply_leniently)
    if missing:
        log.warning(
            "--log-config: for workers to import: %s; the launcher's own lines do without",
            ", ".join(sorted(set(missing))),
        )


def configure(settings: Settings, place: Place) -> None:
    """Set up logging in this process. Raises ConfigurationError for a file that cannot be used."""

    def apply(path: str) -> None:
        from reuseport.logs import operators

        operators.apply(path)

    _configure(settings, place, apply)


def _configure(settings: Settings, place: Place, apply_file: Callable[[str], None]) -> None:
    label_records(place)
    logging.addLevelName(TRACE, "TRACE")
    try:
        if settings.log_config is None:
            _apply_flags(settings, place)
        else:
            apply_file(settings.log_config)
    except (ValueError, TypeError, AttributeError, ImportError, KeyError, OSError, RuntimeError) as error:
        # What dictConfig and fileConfig raise for a configuration: the cause tells more than they do.
        why = error.__cause__ or error
        raise ConfigurationError(f"logging cannot be set up from {settings.log_config}: {why}") from error
    if settings.log_config is not None:
        for handler in handlers():
            label_records_at(handler, place)
        if settings.log_level is not None:
            # As uvicorn has it for its own: the flag counts more than the file.
            log.setLevel(settings.log_level.upper())
    # Libraries and applications that set up no handler fall back to this one: let their lines know the slot.
    logging.lastResort = logging.StreamHandler(sys.stderr)
    logging.lastResort.setLevel(logging.WARNING)
    logging.lastResort.setFormatter(formatter(settings, place))


def _apply_flags(settings: Settings, place: Place) -> None:
    """Without a file of the operator's. Not by dictConfig, whose import costs the launcher a mebibyte."""
    level = (settings.log_level or "info").upper()
    line = formatter(settings, place)
    default = _handler("--log-file", settings.log_file, sys.stderr)
    access = _handler("--access-log-file", settings.access_log_file, sys.stdout)
    for handler in (default, access):
        handler.setFormatter(line)
    for name, handlers_of_it in (
        ("reuseport", [default]),
        ("uvicorn", [default]),
        ("uvicorn.error", []),
        ("uvicorn.access", [access]),
    ):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers[:] = handlers_of_it
        logger.propagate = not handlers_of_it


def _handler(flag: str, path: str | None, stream: TextIO) -> logging.Handler:
    try:
        number = _inherited(path)
        if path is None or path == "-" or number is not None:
            return logging.StreamHandler({1: sys.stdout, 2: sys.stderr}.get(number or 0, stream))
        return LogFile(path)
    except UnfitError as error:
        raise ConfigurationError(f"{flag}: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"{flag} {path} cannot be written: {why}; give a path in a directory that exists and that this"
            " user may write to"
        ) from error


def _inherited(path: str | None) -> int | None:
    """The number of the descriptor that a name such as /dev/stderr stands for.

    It is not opened anew: workers of another user lack the right to, and in a file it would be another
    position. Raises UnfitError for one that workers do not have.
    """
    if path is None or (found := _DESCRIPTOR.fullmatch(path)) is None:
        return None
    number = {"stdin": 0, "stdout": 1, "stderr": 2}.get(found[1] or "") or int(found[2] or 0)
    if number not in (1, 2):
        raise UnfitError(
            errno.EBADF, f"{path} is nothing that workers have: give a path, or - and redirect that"
        )
    return number
