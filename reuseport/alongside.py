"""`serving`: a server beside this process, for as long as a `with` block lasts; for tests and notebooks.

The launcher is a process of its own, executed afresh; what it says is kept in a file. It is asked whether it
serves through its control socket, which lies in a directory of this block. When this process dies without
leaving the block the launcher is sent SIGTERM (PR_SET_PDEATHSIG), if the block was entered in the main
thread: the kernel goes by the thread that has forked.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

from reuseport.client.control import Control
from reuseport.errors import (
    AbsentError,
    ApplicationError,
    ConfigurationError,
    HostError,
    OverdueError,
    ReuseportError,
)
from reuseport.instance import Status
from reuseport.running import Command, command
from reuseport.settings.keywords import Keywords
from reuseport.settings.table import Settings

LOOK = 0.02
"""Seconds between questions whether it serves."""
MORE = 15.0
"""Seconds beyond its own limits that a stop may take before it is made to end."""

# Then the rest of the line, as the same process.
_TIED = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(); os.execv(sys.argv[2], sys.argv[2:])"
)
_ADDRESSES = ("bind", "host", "port", "uds", "fd")


class Server:
    """A running server. `exit_code` is there after the block."""

    def __init__(self, popen: subprocess.Popen[bytes], control: Control, log: Path, status: Status) -> None:
        self.pid = popen.pid
        """The launcher's."""
        self.addresses: tuple[str, ...] = tuple(status["addresses"])
        """All of them: http://127.0.0.1:40325, unix:/run/app.sock."""
        self.exit_code: int | None = None
        """0: nothing was cut short; None: it still runs."""
        self._control = control
        self._log = log
        self._said: str | None = None

    def end(self, exit_code: int) -> None:
        """It has ended so; what it has said is kept."""
        self.exit_code = exit_code
        self._said = self.output

    @property
    def url(self) -> str:
        """The first address."""
        return self.addresses[0]

    @property
    def output(self) -> str:
        """What launcher and workers have printed so far."""
        return self._log.read_text(errors="replace") if self._said is None else self._said

    def status(self) -> Status:
        """What `reuseport status --json` says. Raises AbsentError."""
        return self._control.status()


@contextlib.contextmanager
def serving(
    app: str | None = None, *, within: float = 60.0, **settings: Unpack[Keywords]
) -> Iterator[Server]:
    """Serve meanwhile, on a free port of 127.0.0.1 unless the settings say where; a graceful stop afterwards.

    The block begins when all workers are ready. Settings as for `run`. Raises ConfigurationError,
    ApplicationError (with the traceback) and HostError where the command would end with their status,
    OverdueError when not all workers are ready `within` so many seconds.
    """
    given: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    if not any(name in given for name in _ADDRESSES):
        given["bind"] = ["127.0.0.1:0"]
    with tempfile.TemporaryDirectory(prefix="reuseport-") as directory:
        given.setdefault("control", Path(directory, "control.sock"))
        made = command(app, given)
        if made.settings.no_control:
            raise ConfigurationError(
                "serving() asks the server through its control socket: leave out no_control"
            )
        control, log = Control(Path(given["control"])), Path(directory, "log")
        with log.open("wb") as output, _started(made, output.fileno()) as popen:
            server = Server(popen, control, log, _ready(popen, control, log, within))
            try:
                yield server
            finally:
                server.end(_stopped(popen, made.settings))


@contextlib.contextmanager
def _started(made: Command, output: int) -> Iterator[subprocess.Popen[bytes]]:
    """The process; it is gone afterwards, whatever has happened."""
    line = made.line
    if threading.current_thread() is threading.main_thread():
        line = [sys.executable, "-ISc", _TIED, str(os.getpid()), *line]
    popen = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=made.environment
    )
    try:
        yield popen
    finally:
        if popen.poll() is None:
            _stopped(popen, made.settings)


def _ready(popen: subprocess.Popen[bytes], control: Control, log: Path, within: float) -> Status:
    """Its status once every worker is ready."""
    deadline = time.monotonic() + within
    pidfd = os.pidfd_open(popen.pid)
    try:
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        while time.monotonic() < deadline:
            if gone.poll(LOOK * 1000):
                raise _explained(popen.wait(), log.read_text(errors="replace").strip())
            with contextlib.suppress(AbsentError):
                status = control.status()
                if status["state"] == "serving":
                    return status
    finally:
        os.close(pidfd)
    said = log.read_text(errors="replace").strip()
    raise OverdueError(f"not all workers are ready after {within:g} s:\n{said}")


def _explained(code: int, said: str) -> ReuseportError:
    kind = {2: ConfigurationError, 3: ApplicationError}.get(code, HostError)
    return kind(said.removeprefix("Error: ") or f"the launcher ended with status {code}")


def _stopped(popen: subprocess.Popen[bytes], settings: Settings) -> int:
    """Its exit code, after a graceful stop within its own limits, or else at once."""
    limits = settings.shutdown_delay + settings.graceful_timeout + (settings.shutdown_timeout or 0.0)
    for number, patience in ((signal.SIGTERM, limits + MORE), (signal.SIGQUIT, MORE)):
        with contextlib.suppress(ProcessLookupError):
            popen.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return popen.wait(patience)
    popen.kill()
    return popen.wait()
