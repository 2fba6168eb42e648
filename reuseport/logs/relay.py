"""The launcher's log: its lines are put down at once, and written by a thread, which may have to wait.

Who reads our stderr may stop reading, a file system may hang, a handler of the operator's own may speak to a
host that is gone. The launcher's loop goes on meanwhile: it supervises, answers and stops.

Why a thread. Others write into the same pipe, so what poll(2) says of it is no longer true when we write.
O_NONBLOCK belongs to the open file description, which we share with them and with the shell that started us.
A file is ready whatever its file system does, and where handlers of --log-config write only they know.

What does not fit into the room is dropped and counted, and that is said once, when lines are taken again.
There is more room for errors: the line that matters most must not be the one that finds no room.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import copy
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from reuseport.logs.stream import Stream
from reuseport.printable import paragraph

ROOM = 1 << 20
"""Characters that may wait; errors may fill as much again."""
OVERHEAD = 500
"""What a record takes beside its text, in characters."""
LAST_PATIENCE = 2.0
"""Seconds that the end of the launcher waits for what is not written yet."""

_INDENT = "    "
_TRACEBACKS = logging.Formatter()

log = logging.getLogger("reuseport")


class Relayed(logging.Handler):
    """Stands before another handler, and only puts down what that one is to write."""

    def __init__(self, target: logging.Handler, relay: Relay) -> None:
        super().__init__(target.level)
        self.target = target
        self._relay = relay

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits."""
        try:
            record = _unforgeable(record)
        except Exception:  # noqa: BLE001 - what does not fit its arguments is told as every handler does it
            self.handleError(record)
            return
        size = sum(len(text) for text in (record.msg, record.exc_text, record.stack_info) if text) + OVERHEAD
        self._relay.put(partial(_write, self.target, record), size, urgent=record.levelno >= logging.ERROR)


class Relay:
    """What waits to be written, and the thread that writes it."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._news = threading.Condition()
        """Held for moments only, never while something is written. Reentrant: a destructor may log."""
        self._waiting: collections.deque[tuple[Callable[[], None], int]] = collections.deque()
        self._size = 0
        self._working = False
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def stand_before_all_handlers(self) -> None:
        """From now on no logger of this process waits for a handler that it has now."""
        found: dict[logging.Handler, Relayed] = {}
        for logger in [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]:
            if isinstance(logger, logging.Logger):
                for position, handler in enumerate(logger.handlers):
                    if not isinstance(handler, Relayed):
                        _unbuffer(handler)
                        logger.handlers[position] = found.setdefault(handler, Relayed(handler, self))
        if logging.lastResort is not None:
            _unbuffer(logging.lastResort)
            logging.lastResort = Relayed(logging.lastResort, self)

    def put(self, job: Callable[[], None], size: int = 0, *, urgent: bool = False) -> None:
        """Have something written or done in its turn, or drop it where there is no room; in any thread."""
        with self._news:
            if self._size and self._size + size > self._room * (2 if urgent else 1):
                self._dropped += 1
                return
            self._waiting.append((job, size))
            self._size += size
            self._news.notify_all()

    def begin(self) -> None:
        """Start the thread. It has the capabilities that its maker has at that moment (capabilities(7))."""
        thread = threading.Thread(target=self._work, name="log", daemon=True)
        # It is not for signals, and one is for it: a terminal's background write sends SIGTTOU to all of us,
        # and lets pass who has it blocked (drivers/tty/tty_jobctrl.c, __tty_check_change).
        held = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        self._thread = thread

    def end(self, patience: float = LAST_PATIENCE) -> None:
        """Have everything written, if that is possible in time; what is left then is lost."""
        if self._thread is None:
            self.begin()
        with self._news:
            done = self._news.wait_for(
                lambda: not (self._waiting or self._working or self._dropped), patience
            )
            self._waiting.clear()
        if not done:
            # It would take the lock of a handler that will never be released.
            atexit.unregister(logging.shutdown)

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting)
                job, size = self._waiting.popleft()
                self._working = True
            try:
                job()
            finally:
                with self._news:
                    self._size -= size
                    self._working = False
                    self._tell_what_was_dropped()
                    self._news.notify_all()

    def _tell_what_was_dropped(self) -> None:
        if self._dropped and self._size <= self._room // 2:
            dropped, self._dropped = self._dropped, 0
            log.warning("lines of the log that were dropped, because nobody took them: %d", dropped)


@contextlib.contextmanager
def relayed() -> Iterator[Relay]:
    """The log of this process never waits, as it has been set up. Lines are written from `begin` on."""
    relay = Relay()
    relay.stand_before_all_handlers()
    try:
        yield relay
    finally:
        relay.end()


def _unforgeable(record: logging.LogRecord) -> logging.LogRecord:
    """The same record as text in which only the first line begins at the margin, and nothing is obeyed.

    Much that the launcher says was said by workers: tracebacks, names, reasons. Here and not in a formatter,
    for that may be the operator's own.
    """
    safe = copy.copy(record)
    safe.msg, safe.args = paragraph(record.getMessage()), None
    if record.exc_info:
        safe.exc_text = _INDENT + paragraph(_TRACEBACKS.formatException(record.exc_info))
    if record.stack_info:
        safe.stack_info = _INDENT + paragraph(record.stack_info)
    return safe


def _write(handler: logging.Handler, record: logging.LogRecord) -> None:
    """What `Handler.handle` does, but for its lock: who hangs in `emit` must not keep it."""
    try:
        passed: Any = handler.filter(record)
        if passed:
            # From Python 3.12 on a filter may put another record in its place.
            handler.emit(passed if isinstance(passed, logging.LogRecord) else record)
    except Exception:  # noqa: BLE001 - a filter or handler of the operator's own: told as logging tells it
        handler.handleError(record)


def _unbuffer(handler: logging.Handler) -> None:
    if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
        stream: Any = handler.stream
        if stream is not None and stream in (sys.stderr, sys.stdout):
            handler.setStream(Stream(stream.fileno()))
