"""Writes whole lines to where a logging handler writes, many at a time; other workers write there, too.

A file is open to append, so each write(2) lands at its end in one piece. To anything else (a pipe, the
journal's socket, a terminal) no write is longer than PIPE_BUF and each ends with a line, so that the kernel
does not mix it with those of other workers (pipe(7)).

What cannot be written costs lines, never a request. Who is slow and does not block is tried again, and what
waits for it is bounded; who blocks makes us wait, as with every other line of the log. That lines are lost is
said once, and how many, when it is over.
"""

from __future__ import annotations

import logging
import os
import select
import stat
import threading
import time
from typing import IO

log = logging.getLogger("uvicorn.error")

UNLIMITED = 1 << 62
MOST_WAITING = 1 << 20
"""Bytes kept for who takes nothing more at the moment."""
LAST_PATIENCE = 1.0
"""Seconds that the end of the worker waits for such a one."""


class Output:
    """Writes to the stream that the handler has at the time: it gets another when files are reopened."""

    def __init__(self, handler: logging.StreamHandler[IO[str]]) -> None:
        """Raises OSError for a stream without a descriptor."""
        self._handler = handler
        self._lock = handler.lock or threading.RLock()
        """Threads of the application may log there through the handler."""
        self._stream: IO[str] | None = None
        self.longest = 0
        """Bytes that one write may have, so a line with its end."""
        self._waiting = b""
        self._within_a_line = False
        """What was written last was not the end of one."""
        self._lost = 0
        """Lines, since they began to be lost."""
        self._descriptor()

    @property
    def waiting(self) -> bool:
        """Not everything was taken: write again, more or nothing."""
        return bool(self._waiting)

    def write(self, lines: bytes) -> None:
        """Write whole lines, as far as they are taken now."""
        if len(self._waiting) > MOST_WAITING:
            self._lose(lines, "nobody reads it")
        elif self._within_a_line and not self._waiting:
            self._waiting = b"\n" + lines  # the rest of that line is lost
        else:
            self._waiting += lines
        try:
            with self._lock:
                self._write_waiting()
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:  # ValueError: the application has closed the stream
            self._give_up(str(error))
            return
        if self._lost:
            log.warning("the access log is written again; lines lost: %d", self._lost)
            self._lost = 0

    def end(self) -> None:
        """Write what waits, within LAST_PATIENCE."""
        deadline = time.monotonic() + LAST_PATIENCE
        while self._waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                self._give_up("nobody reads it")
                return
            ready = select.poll()
            ready.register(self._descriptor(), select.POLLOUT)
            ready.poll(left * 1000)
            self.write(b"")

    def _write_waiting(self) -> None:
        fd, data, start = self._descriptor(), self._waiting, 0
        try:
            while start < len(data):
                start += os.write(fd, data[start : self._end_of_piece(data, start)])
        finally:
            if start:
                self._waiting = data[start:]
                self._within_a_line = data[start - 1] != ord("\n")

    def _end_of_piece(self, data: bytes, start: int) -> int:
        """As many lines as one write may have."""
        if len(data) - start <= self.longest:
            return len(data)
        return data.rfind(b"\n", start, start + self.longest) + 1 or start + self.longest

    def _descriptor(self) -> int:
        stream = self._handler.stream
        fd = stream.fileno()
        if stream is not self._stream:
            self._stream = stream
            self.longest = UNLIMITED if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
        return fd

    def _give_up(self, why: str) -> None:
        lines, self._waiting = self._waiting, b""
        self._lose(lines, why)

    def _lose(self, lines: bytes, why: str) -> None:
        if not self._lost:
            log.error("lines of the access log are lost: %s", why)
        self._lost += lines.count(b"\n")
