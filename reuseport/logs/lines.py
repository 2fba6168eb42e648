"""What a line of the log looks like, and the fields that every record has."""

from __future__ import annotations

import http
import logging
import sys
from typing import Any

import click

from reuseport.records import record
from reuseport.settings.table import Settings

ACCESS_FORMAT = '%s - "%s %s HTTP/%s" %d'
"""uvicorn's, for an access line: client, method, path, HTTP version and status."""

PHRASES = {int(status): f"{int(status)} {status.phrase}" for status in http.HTTPStatus}
"""A status and what it means, as it stands in an access line."""

_COLOURS = {
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "bright_red",
}


@record(frozen=True, slots=True)
class Place:
    """Who writes: what every record is labelled with."""

    name: str
    slot: str = "-"
    generation: str = "-"

    def fields(self) -> dict[str, str]:
        """What a record of this place has beside logging's own attributes."""
        return {"place": self.name, "slot": self.slot, "generation": self.generation}


LAUNCHER = Place("launcher")

_labels: list[dict[str, str]] = []
"""The fields of whatever labels records in this process."""


def labels(place: Place) -> dict[str, str]:
    """A place's fields, and those of `moved` from then on."""
    made = place.fields()
    _labels.append(made)
    return made


def moved(place: Place) -> None:
    """From now on this process writes as `place`, with the logging that it has: it was forked."""
    for fields in _labels:
        fields.update(place.fields())


def worker(slot: int, generation: int) -> Place:
    """The place of a worker."""
    return Place(f"slot {slot}", str(slot), str(generation))


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00,000 INFO     slot 3: message`, the level in colour on a terminal.

    Access lines end with what the status means, as uvicorn has them. `place` is for records that have none:
    the application has replaced the factory (logging.setLogRecordFactory).
    """

    def __init__(self, use_colors: bool | None = None, place: Place = LAUNCHER) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(place)s: %(message)s", defaults=labels(place))
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


def label_records(place: Place) -> None:
    """Have every record of this process know its place."""
    fields = labels(place)

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        record.__dict__.update(fields)
        return record

    logging.setLogRecordFactory(make)


def label_records_at(handler: logging.Handler, place: Place) -> None:
    """Have every record that comes to this handler know its place, whoever makes records."""
    fields = labels(place)

    def label(record: logging.LogRecord) -> bool:
        for name, value in fields.items():
            record.__dict__.setdefault(name, value)
        return True

    handler.addFilter(label)


def formatter(settings: Settings, place: Place) -> logging.Formatter:
    """For lines of our own configuration, in the form that the settings ask for."""
    if settings.log_format == "text":
        return TextFormatter(settings.use_colors, place)
    from pythonjsonlogger.json import JsonFormatter

    fields = labels(place)

    class AccessFields(JsonFormatter):
        """Access lines also as fields."""

        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {key: value for key, value in log_data.items() if key != "color_message"}

        def add_fields(
            self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
        ) -> None:
            for name, value in fields.items():
                record.__dict__.setdefault(name, value)
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
