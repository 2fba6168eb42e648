"""sd_notify(3): how the service manager hears of us. What it is told, `announcing` decides.

It never waits, and nothing depends on it: a message for which the manager's queue has no room is dropped,
counted, and due again at the next look. Nothing is ever read from it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import os
import socket
from collections.abc import Mapping

from reuseport.history import History, Kind, Record
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.telling.announcing import Rules, Told, announce, facts_of, start_limit

FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})
"""Whoever reads there does not keep up (unix(7), net.unix.max_dgram_qlen)."""
MOST_AT_ONCE = 3
"""What one datagram cannot say in order the next one does: READY after RELOADING."""
AGAIN = 1.0
"""Seconds until the next try."""
SHORTEST = 0.05
"""Seconds of a watchdog at least: whoever wants to hear of us more often has the environment wrong."""

log = logging.getLogger("reuseport")


class Notifier:
    """From `begin` to `close`. Does nothing where nobody wants to know. Owns its socket."""

    def __init__(
        self,
        loop: GuardedLoop,
        supervisor: Supervisor,
        history: History,
        min_ready: int,
        environment: Mapping[str, str],
    ) -> None:
        self.dropped = 0
        """Messages that could not be delivered."""
        self._loop = loop
        self._supervisor = supervisor
        self._history = history
        self._min_ready = min_ready
        self._watchdog = watchdog(environment)
        self._address = address(environment)
        self._rules = Rules(min_ready)
        self._told = Told()
        self._begun = 0
        self._before = False
        self._failed = ""
        self._not_before = 0.0
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The loop is about to turn."""
        if self._address is None:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        now = self._loop.time()
        limit = start_limit(self._supervisor.policy)
        self._rules = Rules(self._min_ready, self._watchdog, None if limit is None else now + limit)
        self._unwatch = self._history.watch(self._on_record)
        self.look()

    def look(self) -> None:
        """Tell what has changed, and look again when something is due."""
        if self._socket is None or self._loop.time() < self._not_before:
            return
        for _ in range(MOST_AT_ONCE):
            facts = facts_of(self._supervisor, self._begun, self._before, self._failed)
            lines, after = announce(self._told, facts, self._rules, self._loop.time())
            if lines and not self._send("\n".join(lines)):
                self._not_before = self._loop.time() + min(AGAIN, (self._watchdog or math.inf) / 4)
                self._arm(self._not_before)
                return
            self._told = after
            if not lines:
                break
        self._arm(self._told.next_at(self._rules))

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            if self._timer.when() == due:
                return
            self._timer.cancel()
        self._timer = None if due == math.inf else self._loop.call_at(due, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self.look()

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._unwatch()
            self._socket.close()
            self._socket = None
        if self._timer is not None:
            self._timer.cancel()

    def _on_record(self, record: Record) -> None:
        match record.kind, record.cause:
            case Kind.RELOAD_BEGUN, "follows":
                return  # it has not
            case Kind.RELOAD_BEGUN, cause:
                self._begun += 1
                self._before, self._failed = cause == "before", ""
            case Kind.RELOAD_ABORTED, cause:
                self._before, self._failed = False, cause or record.text
            case _:
                return
        self._loop.call_soon(self.look)

    def _send(self, message: str) -> bool:
        """Whether it was taken. Whatever is wrong with the other end is no reason to serve worse."""
        if self._socket is None or self._address is None:
            return False
        try:
            # Each time anew to the address: who listens there now need not be who listened before.
            self._socket.sendto(message.encode(), self._address)
        except OSError as error:
            self.dropped += 1
            why = "its queue is full" if error.errno in FULL else error.strerror or str(error)
            level = logging.WARNING if self.dropped == 1 else logging.DEBUG
            log.log(level, "the service manager was not told (%d times so far): %s", self.dropped, why)
            return False
        return True


def address(environment: Mapping[str, str]) -> str | bytes | None:
    """Where $NOTIFY_SOCKET leads: a path, or `@` and a name in the abstract namespace (unix(7)).

    None where there is none, or none that we know: then nobody hears of us, which is said in the log.
    """
    name = environment.get("NOTIFY_SOCKET", "")
    if not name:
        return None
    if name.startswith("@"):
        return b"\0" + os.fsencode(name[1:])
    if name.startswith("/"):
        return name
    log.warning(
        "NOTIFY_SOCKET is %r, neither a path nor an abstract name: the service manager is not told", name
    )
    return None


def watchdog(environment: Mapping[str, str]) -> float | None:
    """Seconds within which the manager wants a sign of life of this process (sd_watchdog_enabled(3))."""
    pid, text = environment.get("WATCHDOG_PID"), environment.get("WATCHDOG_USEC", "")
    if pid not in (None, str(os.getpid())) or not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text[:18]) == 0:
        log.warning("WATCHDOG_USEC is %r, no number of microseconds: no sign of life is sent", text)
        return None
    return max(int(text[:18]) / 1e6, SHORTEST)
