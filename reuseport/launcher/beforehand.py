"""--before-reload: a command that must succeed before a reload begins, such as a migration.

It runs beside everything else: the launcher hears of its output and its end on descriptors. Whoever asks for
a reload meanwhile asks for the same one. When it fails, or takes too long, there is no reload, and whoever
waits for it is told as of every other that is aborted. A stop ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import shlex
import signal
from collections.abc import Callable

from reuseport.history import Kind
from reuseport.launcher.becoming import worker_environment
from reuseport.launcher.command import run_command
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding import reports
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.execution import Execution
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.host.identity import Identity
from reuseport.launcher.telling.chronicle import Chronicle, signal_name
from reuseport.printable import printable
from reuseport.settings.table import Settings

AT_ONCE = 65536
"""Bytes read in one turn of the loop."""
MOST_LINES = 1000
"""Of what it prints, in the log."""
MOST_LINE = 2000
"""Characters."""
GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL."""
MOMENT = 1.0
"""Seconds that our own end waits for one that was sent SIGKILL."""

log = logging.getLogger("reuseport")


class Beforehand:
    """`go` begins the reload. Owns the command's process and the pipe it prints to, while it runs."""

    def __init__(
        self,
        loop: GuardedLoop,
        settings: Settings,
        identity: Identity | None,
        supervisor: Supervisor,
        chronicle: Chronicle,
        go: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._command = settings.before_reload
        self._patience = settings.before_reload_timeout
        self._identity = identity
        self._supervisor = supervisor
        self._chronicle = chronicle
        self._go = go
        self._execution: Execution | None = None
        self._output = -1
        self._line = b""
        self._lines = 0
        self._timer: asyncio.TimerHandle | None = None
        self._why: str | None = None
        """What we have ended it for."""

    def comes_first(self) -> bool:
        """Whether a reload that is asked for now has to wait for the command, which runs from now on."""
        if self._command is None or self._supervisor.objection(ev.ReloadRequested()) is not None:
            return False  # the supervisor tells why not
        if self._execution is None:
            self._begin(self._command)
        return True

    def pids(self) -> dict[int, Callable[[], None]]:
        """Of the command, and what is to be done when it is found dead."""
        return {} if self._execution is None else {self._execution.pid: self._on_exit}

    def stop(self) -> None:
        """The server stops: end it, if it runs."""
        self._end("was ended: the server stops")

    def close(self) -> None:
        """Nothing is to be left of it. The loop runs no more."""
        if self._execution is None:
            return
        self._signal(signal.SIGKILL)
        gone = select.poll()
        gone.register(self._execution.pidfd, select.POLLIN)
        if gone.poll(MOMENT * 1000):
            self._execution.reap_now()
        self._execution.close()
        os.close(self._output)
        self._execution = None

    # ── one run ───────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, command: str) -> None:
        generation = self._supervisor.promised()
        text = f"before the reload to generation {generation}: {printable(command)}"
        self._chronicle.note(Kind.RELOAD_BEGUN, text, generation=generation, cause="before")
        environment = {**worker_environment(os.environ), "REUSEPORT_GENERATION": str(generation)}
        self._line, self._lines, self._why = b"", 0, None
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self._abort(f"could not be started: {error.strerror}")
            return
        try:
            # It blocks when it prints faster than we read, as on a terminal.
            os.set_blocking(writing, True)
            self._execution = run_command(shlex.split(command), writing, environment, self._identity)
        except OSError as error:
            os.close(reading)
            self._abort(f"could not be started: {error.strerror}")
            return
        finally:
            os.close(writing)
        self._output = reading
        self._loop.add_reader(reading, self._on_output)
        self._loop.add_reader(self._execution.pidfd, self._on_exit)
        if self._patience:
            why = f"was not over within {self._patience:g} s (--before-reload-timeout)"
            self._timer = self._loop.call_later(self._patience, self._end, why)

    def _end(self, why: str) -> None:
        if self._execution is None or self._why is not None:
            return
        self._why = why
        self._signal(signal.SIGTERM)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(GRACE, self._signal, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """To it and all it has started that is still in its session's group; not reaped, it has its pid."""
        if self._execution is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._execution.pid, number)
            self._execution.send(number)

    def _on_output(self) -> None:
        try:
            said = os.read(self._output, AT_ONCE)
        except BlockingIOError:
            return
        if not said:
            self._loop.remove_reader(self._output)
            return
        *lines, self._line = (self._line + said).split(b"\n")
        self._line = self._line[-MOST_LINE:]
        for line in lines:
            self._tell(line)

    def _tell(self, line: bytes) -> None:
        self._lines += 1
        if self._lines <= MOST_LINES and line.strip():
            log.info("before the reload: %s", printable(line[:MOST_LINE].decode(errors="replace").rstrip()))
        elif self._lines == MOST_LINES + 1:
            log.info("before the reload: more than %d lines, which are left out", MOST_LINES)

    def _on_exit(self) -> None:
        execution = self._execution
        if execution is None:
            return  # it was reaped on another way
        self._on_output()
        if self._line:
            self._tell(self._line)
        status = execution.reap_now()
        self._loop.remove_reader(execution.pidfd)
        self._loop.remove_reader(self._output)
        if self._timer is not None:
            self._timer.cancel()
        # Whatever it has started in its group and left behind goes, too: nobody reads what that prints.
        os.close(self._output)
        execution.close()
        self._execution = None
        if self._why is not None:
            self._abort(self._why)
        elif status == 0:
            self._go()
        elif status is None or status > 0:
            self._abort(f"exited with status {'unknown' if status is None else status}")
        else:
            self._abort(f"was ended by {signal_name(-status)}")

    def _abort(self, why: str) -> None:
        supervisor = self._supervisor
        why = f"--before-reload {why}"
        self._chronicle.report(
            reports.reload_aborted(supervisor.promised(), why, supervisor.generation, 0, 0)
        )
