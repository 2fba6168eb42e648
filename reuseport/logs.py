"""Logging of launcher and workers: uvicorn's logger names, one handler set, every record knows its slot.

Each record has `place` ("launcher" or "slot 3"), `slot` and `generation` ("-" in the launcher), also for
formats of the operator's own (--log-config). Lines for people go to stderr, access lines to stdout, as
uvicorn has it, or to --log-file and --access-log-file, which SIGUSR1 opens again.
"""

from __future__ import annotations

import contextlib
import http
import json
import logging
import logging.config
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from reuseport.errors import ConfigurationError
from reuseport.settings.table import Settings

log = logging.getLogger("reuseport")

TRACE = 5
"""uvicorn's level below DEBUG."""

ACCESS_FORMAT = '%s - "%s %s HTTP/%s" %d'
"""uvicorn's, for an access line: client, method, path, HTTP version and status."""

PHRASES = {int(status): f"{int(status)} {status.phrase}" for status in http.HTTPStatus}
"""A status and what it means, as it stands in an access line."""

_COLOURS = {
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "bright_red",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Who writes: what every record is labelled with."""

    name: str
    slot: str = "-"
    generation: str = "-"


LAUNCHER = Place("launcher")


def worker(slot: int, generation: int) -> Place:
    """The place of a worker."""
    return Place(f"slot {slot}", str(slot), str(generation))


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO     slot 3: message`, the level in colour on a terminal.

    Access lines end with what the status means, as uvicorn has them.
    """

    def __init__(self, use_colors: bool | None = None) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(place)s: %(message)s")
        self._colours = sys.stderr.isatty() if use_colors is None else use_colors

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if request := _request(record):
            record.message += PHRASES.get(request[4], "")[3:]
        line = super().formatMessage(record)
        colour = _COLOURS.get(record.levelno)
        if self._colours and colour:
            level = record.levelname
            line = line.replace(level, click.style(level, fg=colour), 1)
        return line


def configure(settings: Settings, place: Place) -> None:
    """Set up logging in this process. Raises ConfigurationError for a file that cannot be used."""
    _label_records(place)
    logging.addLevelName(TRACE, "TRACE")
    try:
        if settings.log_config is None:
            logging.config.dictConfig(_default(settings))
        else:
            _apply_file(settings.log_config)
    except (ValueError, TypeError, AttributeError, ImportError, KeyError, OSError, RuntimeError) as error:
        # What dictConfig and fileConfig raise for a configuration; the cause tells more than they do.
        name = settings.log_config or "--log-file, --access-log-file"
        raise ConfigurationError(
            f"logging cannot be set up from {name}: {error.__cause__ or error}"
        ) from error
    # Libraries and applications that set up no handler fall back to this one: let their lines know the slot.
    logging.lastResort = logging.StreamHandler(sys.stderr)
    logging.lastResort.setLevel(logging.WARNING)
    logging.lastResort.setFormatter(_formatter(settings))


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

    Only of what is ours, is a file, and has no other name: who may write to the directory could put a link
    there, and would be given what it leads to. The group stays, for it says who may read. Where it cannot be
    done nothing is said here: whoever opens the file finds out, and knows whether it matters.
    """
    for handler, stream in _open_files().items():
        if _is_plain(os.fstat(stream.fileno()), handler.baseFilename):
            with contextlib.suppress(PermissionError):
                os.fchown(stream.fileno(), uid, -1)


def _is_plain(opened: os.stat_result, path: str) -> bool:
    """Whether the path is the only way to a file of ours, and leads over no link."""
    try:
        named = os.lstat(path)
    except FileNotFoundError:
        return False
    return (
        stat.S_ISREG(named.st_mode)
        and os.path.samestat(named, opened)
        and (opened.st_nlink, opened.st_uid) == (1, os.geteuid())
    )


def _label_records(place: Place) -> None:
    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.place = place.name
        record.slot = place.slot
        record.generation = place.generation
        return record

    logging.setLogRecordFactory(make)


def _default(settings: Settings) -> dict[str, Any]:
    level = (settings.log_level or "info").upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": lambda: _formatter(settings)}},
        "handlers": {
            "default": _handler(settings.log_file, "ext://sys.stderr"),
            "access": _handler(settings.access_log_file, "ext://sys.stdout"),
        },
        "loggers": {
            "reuseport": {"handlers": ["default"], "level": level, "propagate": False},
            "uvicorn": {"handlers": ["default"], "level": level, "propagate": False},
            "uvicorn.error": {"level": level},
            "uvicorn.access": {"handlers": ["access"], "level": level, "propagate": False},
        },
    }


def _handler(path: str | None, stream: str) -> dict[str, Any]:
    if path is None:
        return {"class": "logging.StreamHandler", "formatter": "line", "stream": stream}
    return {"class": "logging.FileHandler", "formatter": "line", "filename": path}


def _formatter(settings: Settings) -> logging.Formatter:
    if settings.log_format == "text":
        return TextFormatter(settings.use_colors)
    # python-json-logger is an extra; settings/validation.py has made sure that it is there.
    from pythonjsonlogger.json import JsonFormatter

    class AccessFields(JsonFormatter):
        """Access lines also as fields."""

        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in log_data.items() if key != "color_message"}

        def add_fields(
            self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
        ) -> None:
            super().add_fields(log_data, record, message_dict)
            if request := _request(record):
                names = ("client", "method", "path", "http_version", "status")
                log_data.update(zip(names, request, strict=True))

    return AccessFields(
        ["message", "levelname", "name", "slot", "generation", "process"],
        rename_fields={"levelname": "level", "name": "logger", "process": "pid"},
        timestamp=True,
    )


def _request(record: logging.LogRecord) -> tuple[Any, ...]:
    """Client, method, path, HTTP version and status, if the record is an access line of uvicorn's."""
    of_a_request = record.name == "uvicorn.access" and record.msg == ACCESS_FORMAT
    return record.args if of_a_request and isinstance(record.args, tuple) else ()


def _apply_file(path: str) -> None:
    """What uvicorn does with --log-config, so that launcher and workers agree."""
    if path.endswith(".json"):
        logging.config.dictConfig(json.loads(Path(path).read_text(encoding="utf-8")))
    elif path.endswith((".yaml", ".yml")):
        import yaml

        logging.config.dictConfig(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    else:
        logging.config.fileConfig(path, disable_existing_loggers=False)


def _open_files() -> dict[logging.FileHandler, IO[str]]:
    return {
        handler: handler.stream
        for handler in _handlers()
        if isinstance(handler, logging.FileHandler) and handler.stream is not None
    }


def _handlers() -> Iterator[logging.Handler]:
    seen = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in seen:
        if isinstance(logger, logging.Logger):
            yield from logger.handlers
