"""The access log, on by default: the lines of one turn of the event loop are written together, at its end.

uvicorn gives each of its request cycles a logger and calls `info` with a format and five arguments. Our
protocols give it an AccessLog instead, which makes the line by itself: through logging the same line costs
more than a small request. Killed with SIGKILL, a worker takes one turn's lines with it, and no more.

It is for the lines of our own configuration. With --log-config, and as soon as the application has changed
what logging would do with such a line (a filter, a handler, a level), logging does it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import IO, Any

from reuseport import logs
from reuseport.settings.table import Settings
from reuseport.worker.protocol.accessline import Line, json_line, text_line
from reuseport.worker.protocol.output import Output

RETRY = 0.05
"""Seconds until what was not taken is offered again."""
SHORTER = (1000, 300, 100, 30)
"""Characters to which the parts of an overlong line are cut, until it fits."""


class AccessLog:
    """Stands where uvicorn expects its logger. In the event loop only."""

    def __init__(self, handler: logging.StreamHandler[IO[str]], line: Line) -> None:
        """Raises OSError for a stream without a descriptor."""
        self._logger = logging.getLogger("uvicorn.access")
        self._handler = handler
        self._formatter = handler.formatter
        self._line = line
        self._output = Output(handler)
        self._lines: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._retry: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on lines wait for the end of the loop's turn."""
        self._loop = loop

    def move(self, settings: Settings, place: logs.Place) -> None:
        """Its lines are of this place: the process was forked."""
        self._line = _lines_of(settings, place)

    def info(self, message: str, *arguments: Any) -> None:
        """What uvicorn calls when a response begins."""
        lines = self._lines
        # Asked once in a turn of the loop: who sets up logging has the next turn.
        if message != logs.ACCESS_FORMAT or not (lines or self._is_ours()):
            self.flush()
            self._logger.info(message, *arguments)
            return
        line = self._line(*arguments)
        if len(line) >= self._output.longest:
            line = self._shortened(*arguments)
        lines.append(line)
        if len(lines) == 1:
            self._write_soon()

    def flush(self) -> None:
        """Write what has come together."""
        if self._lines:
            self._lines.append("")
            text = "\n".join(self._lines)
            self._lines.clear()
            self._output.write(text.encode())
        elif self._output.waiting:
            self._output.write(b"")
        if self._output.waiting and self._loop is not None and self._retry is None:
            self._retry = self._loop.call_later(RETRY, self._again)

    def end(self) -> None:
        """Write everything; a line that still comes is written at once."""
        self._loop = None
        self.flush()
        self._output.end()

    def _write_soon(self) -> None:
        if self._loop is None:
            self.flush()
        else:
            self._loop.call_soon(self.flush)

    def _again(self) -> None:
        self._retry = None
        self.flush()

    def _is_ours(self) -> bool:
        """Whether logging would do with a line what we do: nobody has changed anything since."""
        logger, handler = self._logger, self._handler
        return (
            len(logger.handlers) == 1
            and logger.handlers[0] is handler
            and handler.formatter is self._formatter
            and not (logger.filters or handler.filters or logger.propagate or handler.level)
            and logger.isEnabledFor(logging.INFO)
        )

    def _shortened(self, client: str, method: str, path: str, version: str, status: int) -> str:
        """One write holds it: a line that two writes make can be torn apart by another worker's."""
        for most in SHORTER:
            line = self._line(_cut(client, most), _cut(method, most), _cut(path, most), version, status)
            if len(line) < self._output.longest:
                break
        return line


def _cut(part: str, most: int) -> str:
    return part if len(part) <= most else f"{part[:most]}..."


def begin_access_log(settings: Settings, place: logs.Place) -> AccessLog | None:
    """For the lines of the configuration just made in `logs`; None where they are not ours to write."""
    handlers = logging.getLogger("uvicorn.access").handlers
    if settings.log_config is not None or len(handlers) != 1:
        return None
    handler = handlers[0]
    if not isinstance(handler, logging.StreamHandler) or handler.stream is None:
        return None
    return AccessLog(handler, _lines_of(settings, place))


def _lines_of(settings: Settings, place: logs.Place) -> Line:
    return text_line(place) if settings.log_format == "text" else json_line(place)
