"""The real command as a subprocess, for every test that wants one: `launch` starts it and cleans up."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

with contextlib.suppress(ModuleNotFoundError):  # the environments of tests/applications have no need of it
    from hypothesis import settings

    # How long an example takes says nothing on a machine that does other things, too.
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")

PATIENCE = 60.0
"""Seconds to wait for any event: generous, for a loaded machine; a test that passes never needs it."""

MOMENT = 5.0
"""Seconds in which what is about to end has ended."""

MOLD = {name: value for name, value in os.environ.items() if name == "REUSEPORT_MOLD"}
"""Of all settings in our own environment the one that holds for tests: REUSEPORT_MOLD=false scripts/test has
every worker executed. The others would change what is tested."""

APPS = Path(__file__).parent / "apps"
"""The applications that tests serve; on the workers' import path."""


@pytest.fixture(autouse=True)
def _signal_mask() -> Iterator[None]:
    """What a test has blocked is not blocked for the next one, nor for what that starts."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, held)


class Launched:
    """A running launcher and what it printed. Lines are waited for in order, each after the last."""

    def __init__(
        self,
        arguments: list[str],
        env: Mapping[str, str],
        cwd: Path,
        wrapper: list[str],
        module: str = "reuseport",
    ) -> None:
        self.popen = subprocess.Popen(
            [*wrapper, sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        self.at_once = signal.SIGQUIT if module == "reuseport" else signal.SIGTERM
        """What ends it without waiting for anybody."""
        self.lines: list[str] = []
        self._seen = 0
        self._news = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # ── output ────────────────────────────────────────────────────────────────────────────────────────

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """The next line that matches; fails with all output when it does not come."""
        deadline = time.monotonic() + patience
        with self._news:
            while True:
                for index in range(self._seen, len(self.lines)):
                    found = re.search(pattern, self.lines[index])
                    if found:
                        self._seen = index + 1
                        return found
                left = deadline - time.monotonic()
                if left <= 0 or (self._ended):
                    pytest.fail(f"no line matches {pattern!r} in:\n{self.output}")
                self._news.wait(min(left, 1.0))

    def wait_for_first(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """The first line of all that matches, whether it was waited for before or not."""
        deadline = time.monotonic() + patience
        with self._news:
            while True:
                for line in self.lines:
                    if found := re.search(pattern, line):
                        return found
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    pytest.fail(f"no line matches {pattern!r} in:\n{self.output}")
                self._news.wait(min(left, 1.0))

    def count(self, pattern: str) -> int:
        """How many lines so far match."""
        return sum(bool(re.search(pattern, line)) for line in list(self.lines))

    # ── the service ───────────────────────────────────────────────────────────────────────────────────

    def ready(self, workers: int) -> Launched:
        """Wait until all workers are ready for the first time."""
        self.wait_for(rf"all {workers} workers are ready")
        return self

    @property
    def port(self) -> int:
        """The port that was announced, of the first address."""
        deadline = time.monotonic() + PATIENCE
        with self._news:
            while True:
                found = re.search(r"(?:serves .*|running) on https?://\S*?:(\d+)(?![\d:\]])", self.output)
                if found:
                    return int(found[1])
                if self._ended or time.monotonic() > deadline:
                    pytest.fail(f"no address announced in:\n{self.output}")
                self._news.wait(1.0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ── processes ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def pid(self) -> int:
        return self.popen.pid

    def children(self) -> list[psutil.Process]:
        """All that the launcher has started, without its molds."""
        return children(self.pid)

    def molds(self) -> list[psutil.Process]:
        """Those that live."""
        found = psutil.Process(self.pid).children()
        return [child for child in found if "reuseport.mold" in command(child)]

    def workers(self) -> dict[int, int]:
        """Pid of the newest living worker process by slot."""
        found: dict[int, int] = {}
        for child in self.children():
            try:
                words = child.cmdline()
                if "--slot" in words and child.status() != psutil.STATUS_ZOMBIE:
                    slot = int(words[words.index("--slot") + 1])
                    found[slot] = max(child.pid, found.get(slot, 0))
            except psutil.NoSuchProcess:
                continue
        return found

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code, once it has exited and everything it printed is read."""
        try:
            code = self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            pytest.fail(f"did not exit within {patience} s:\n{self.output}")
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()


Launch = Callable[..., Launched]


def children(launcher: int) -> list[psutil.Process]:
    """All that this launcher has started and that live, without its molds: they come and go as they like."""
    found = {child: command(child) for child in psutil.Process(launcher).children()}
    return [child for child, words in found.items() if words and "reuseport.mold" not in words]


def command(process: psutil.Process) -> list[str]:
    """Its command line; nothing when it is about to be gone, as a zombie has none (proc_pid_cmdline(5))."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def zombies(parent: int) -> list[psutil.Process]:
    """Children that have exited and are not reaped."""
    found = []
    for child in psutil.Process(parent).children():
        try:
            if child.status() == psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def survivors(session: int) -> list[psutil.Process]:
    """Processes that are left of the session the launcher was started in."""
    left = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return left


def end(server: Launched) -> str | None:
    """End it, whatever state it is in; what was not as it should be."""
    wrong = None
    if server.popen.poll() is None:
        server.signal(server.at_once)
        try:
            server.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            wrong = f"the launcher did not end by SIGQUIT: {psutil.Process(server.pid)}"
            server.popen.kill()
            server.popen.wait()
    # What an application has started for itself, and the resource tracker of uvicorn's workers, ends a moment
    # after them all: when it reads the end of a pipe.
    deadline = time.monotonic() + (MOMENT if server.at_once is signal.SIGQUIT else PATIENCE)
    while survivors(server.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = survivors(server.pid)
    if left and wrong is None:
        # Described before they are killed: what they are like afterwards explains nothing.
        wrong = f"orphans: {', '.join(map(str, left))}"
    for process in left:
        process.kill()
    assert server.popen.stdout is not None
    server._reader.join(10)
    server.popen.stdout.close()
    return wrong and f"{wrong}\n{server.output}"


@contextlib.contextmanager
def launching(directory: Path) -> Iterator[Launch]:
    """Launchers started in this directory; at the end they are stopped and nothing of them may be left."""
    launched: list[Launched] = []

    def start(
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        wrapper: list[str] | None = None,
        module: str = "reuseport",
    ) -> Launched:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("REUSEPORT_", "UVICORN_"))}
        for name in ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
            inherited.pop(name, None)
        given = {argument.partition("=")[0] for argument in arguments}
        address = [] if given & {"--port", "--bind", "-b", "--uds", "--fd"} else ["--port", "0"]
        apps = [] if "--app-dir" in given else ["--app-dir", str(APPS)]
        server = Launched(
            [*arguments, *address, *apps],
            {**inherited, **MOLD, **(env or {})},
            cwd or directory,
            wrapper or [],
            module,
        )
        launched.append(server)
        return server

    yield start
    wrong = list(filter(None, map(end, launched)))
    if wrong:
        pytest.fail("\n".join(wrong))


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """`launch("app:app", "--workers", "2", env={…})`: on port 0 of 127.0.0.1 unless an address is given."""
    with launching(tmp_path) as start:
        yield start
