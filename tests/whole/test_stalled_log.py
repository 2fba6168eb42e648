"""A launcher whose log nobody reads: it goes on supervising, stops when told to, and says what was lost."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import APPS, PATIENCE, children
from tests.whole.clients import environment, kept_port
from tests.whole.lines import wait_until
from tests.whole.traffic import ask

QUIET = ("--workers", "1", "--log-level", "error")
"""Workers say nothing then: they would wait for who does not read."""


class Unheard(NamedTuple):
    """A launcher, and the end of its stderr that nobody reads."""

    popen: subprocess.Popen[bytes]
    port: int
    stderr: int

    def until_answered(self, otherwise_than: int = 0) -> int:
        """The pid of a worker that answers, and is not that one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.popen.poll() is None, self.popen.returncode
            with contextlib.suppress(OSError):
                if (pid := int(json.loads(ask(self.port))["pid"])) != otherwise_than:
                    return pid
            assert time.monotonic() < deadline, "no new worker answers"
            time.sleep(0.01)  # nobody tells us: the log is what cannot be read

    def read(self) -> str:
        """What is in the pipe, to its end."""
        pieces = []
        while piece := os.read(self.stderr, 65536):
            pieces.append(piece)
        return b"".join(pieces).decode()


@contextlib.contextmanager
def unheard(directory: Path, application: str, *arguments: str) -> Iterator[Unheard]:
    """Its stderr is the smallest pipe there is, and full from the start."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"." * 4095 + b"\n")
    with kept_port() as port:
        served = ["--port", str(port), "--join", "--lifespan", "off"]
        popen = subprocess.Popen(
            [sys.executable, "-m", "reuseport", application, *served, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=writing,
            env=environment(),
            cwd=directory,
            start_new_session=True,
        )
        os.close(writing)
        try:
            yield Unheard(popen, port, reading)
        finally:
            if popen.poll() is None:
                for worker in children(popen.pid):
                    worker.kill()
                popen.kill()
            popen.wait()
            os.close(reading)


def test_a_reader_that_stalls_holds_nothing_up(tmp_path: Path) -> None:
    with unheard(APPS, "plain:app", *QUIET) as server:
        pid = server.until_answered()
        for _ in range(2):
            os.kill(pid, signal.SIGKILL)
            pid = server.until_answered(otherwise_than=pid)
        os.kill(server.popen.pid, signal.SIGTERM)
        assert server.popen.wait(PATIENCE) == 0


def test_what_was_not_read_in_time_is_read_later(tmp_path: Path) -> None:
    with unheard(APPS, "plain:app", *QUIET) as server:
        pid = server.until_answered()
        os.kill(pid, signal.SIGKILL)
        server.until_answered(otherwise_than=pid)
        os.kill(server.popen.pid, signal.SIGTERM)
        assert f"(pid {pid}) was killed by SIGKILL" in server.read()
        assert server.popen.wait(PATIENCE) == 0


def test_a_failed_start_is_told_to_who_reads(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(f"raise RuntimeError('not today {'.' * 9000}')\n", encoding="ascii")
    with unheard(tmp_path, "broken:app", "--workers", "2") as server:
        assert "RuntimeError: not today" in server.read()
        assert server.popen.wait(PATIENCE) == 3


def test_a_failed_start_ends_although_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n", encoding="ascii")
    with unheard(tmp_path, "broken:app", "--workers", "2") as server:
        assert server.popen.wait(PATIENCE) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_every_way_to_stop_works(tmp_path: Path, number: signal.Signals) -> None:
    with unheard(APPS, "plain:app", *QUIET) as server:
        pid = server.until_answered()
        os.kill(pid, signal.SIGKILL)
        server.until_answered(otherwise_than=pid)
        os.kill(server.popen.pid, number)
        server.popen.wait(PATIENCE)


def test_log_files_of_workers_are_rotated_all_the_same(tmp_path: Path) -> None:
    """The launcher cannot open its own again: who writes them has to wait. Workers do not wait for that."""
    access = tmp_path / "access"
    with unheard(APPS, "plain:app", *QUIET, "--access-log-file", str(access)) as server:
        # At this level there is no access log; the file is there, and is what is opened again.
        pid = server.until_answered()
        os.kill(pid, signal.SIGKILL)
        pid = server.until_answered(otherwise_than=pid)
        access.rename(tmp_path / "access.1")
        os.kill(server.popen.pid, signal.SIGUSR1)
        wait_until(lambda: _has_open(pid, access))
        os.kill(server.popen.pid, signal.SIGTERM)
        assert server.popen.wait(PATIENCE) == 0


def _has_open(pid: int, path: Path) -> bool:
    targets = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets.append(str(entry.readlink()))
    return str(path) in targets
