"""A worker that is forked and not executed yet: nobody waits for it, and a signal to it concerns it alone."""

from __future__ import annotations

import fcntl
import os
import signal
import site
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import Launch, Launched
from tests.whole.clients import client
from tests.whole.lines import lives, wait_until

ROOT = Path(__file__).parents[2]
EXECUTED = ("--workers", "1", "--no-mold")


class Interpreter:
    """The path of an interpreter of our own, under which there may come to be one that does not open."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "python"
        self._real = Path(sys.executable).resolve()
        self._path.symlink_to(self._real)

    def wrapper(self) -> list[str]:
        """The launcher's interpreter is this one, not the fixture's."""
        packages = ":".join([str(ROOT), *site.getsitepackages()])
        return ["env", f"PYTHONPATH={packages}", "sh", "-c", f'shift; exec {self._path} "$@"', "sh"]

    @contextmanager
    def hangs(self) -> Iterator[Callable[[], None]]:
        """Who executes it waits, as on a file system that does not answer; what is yielded waits for that.

        A lease (fcntl(2), F_SETLEASE): the kernel has others wait until its owner has given it back, or for
        /proc/sys/fs/lease-break-time, which is 45 s and longer than any test waits.
        """
        new = self._path.with_name("python.new")
        new.write_text(f'#!/bin/sh\nexec {self._real} "$@"\n', encoding="ascii")
        new.chmod(0o755)
        new.rename(self._path)
        fd = os.open(self._path, os.O_RDONLY)
        try:
            # Instead of SIGIO, whose default would end us: that somebody wants the file.
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            yield lambda: wait_until(lambda: fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK)
        finally:
            os.close(fd)


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    return Interpreter(tmp_path)


def unexecuted(server: Launched) -> int:
    """The pid of the one process that is still a copy of the launcher."""
    ours = {child.pid for child in psutil.Process(server.pid).children()}
    (pid,) = ours - set(server.workers().values())
    return pid


def test_an_interpreter_that_does_not_open_holds_up_nobody_else(
    launch: Launch, interpreter: Interpreter
) -> None:
    server = launch("plain:app", *EXECUTED, wrapper=interpreter.wrapper()).ready(1)
    with interpreter.hangs() as reached:
        server.signal(signal.SIGTTIN)
        reached()
        server.signal(signal.SIGTTIN)
        server.wait_for("scaling from 2 to 3 workers")
        server.signal(signal.SIGTTOU)
        server.wait_for("scaling from 3 to 2 workers")
        with client() as asking:
            assert asking.get(server.url).json()["slot"] == "0"
    server.wait_for("slot 1 is ready")
    assert server.stop() == 0


def test_a_stop_waits_for_no_interpreter(launch: Launch, interpreter: Interpreter) -> None:
    server = launch("plain:app", *EXECUTED, wrapper=interpreter.wrapper()).ready(1)
    with interpreter.hangs() as reached:
        server.signal(signal.SIGTTIN)
        reached()
        assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_a_copy_of_the_launcher_is_not_the_launchers(
    number: signal.Signals, launch: Launch, interpreter: Interpreter
) -> None:
    server = launch("plain:app", *EXECUTED, wrapper=interpreter.wrapper()).ready(1)
    with interpreter.hangs() as reached:
        server.signal(signal.SIGTTIN)
        reached()
        pid = unexecuted(server)
        os.kill(pid, number)
        server.wait_for(rf"worker in slot 1 \(pid {pid}\) was .* by {number.name}")
    server.wait_for("slot 1 is ready")
    assert server.stop() == 0


def test_a_copy_of_the_launcher_keeps_nothing_open(launch: Launch, interpreter: Interpreter) -> None:
    server = launch("plain:app", *EXECUTED, wrapper=interpreter.wrapper()).ready(1)
    workers = [psutil.Process(pid) for pid in server.workers().values()]
    with interpreter.hangs() as reached:
        server.signal(signal.SIGTTIN)
        reached()
        copy = psutil.Process(unexecuted(server))
        # Its standard streams, its end of the channel, and from 3.13 on the directory it goes back to.
        assert copy.num_fds() == 4 + (sys.version_info >= (3, 13))
        # So the end of file of the other worker's channel is not held back.
        server.signal(signal.SIGKILL)
        wait_until(lambda: not any(map(lives, workers)), lambda: server.output)
    wait_until(lambda: not lives(copy))
    wait_until(lambda: server.count("slot 0: the launcher is gone: draining") == 1)


@pytest.mark.parametrize("mold", ["--mold", "--no-mold"])
def test_an_interpreter_that_is_not_there(launch: Launch, mold: str) -> None:
    packages = ":".join([str(ROOT), *site.getsitepackages()])
    real = Path(sys.executable).resolve()
    # Its name is what it is called by (sys.executable).
    script = f'shift; exec -a /nowhere/python {real} "$@"'
    wrapper = ["env", f"PYTHONPATH={packages}", "bash", "-c", script, "bash"]
    server = launch("plain:app", "--workers", "2", "--reload", mold, wrapper=wrapper)
    assert server.wait() == 2
    assert server.count("slot . could not start: .*No such file or directory: '/nowhere/python'") == 1
    assert server.count("could not start, for the same reason") == 1
    # One that has a head start cannot say why, unless it fails before it is wanted, and is executed again.
    failed = "mold of generation 1 (has failed: .*'/nowhere/python'|is gone, with status 3)"
    assert server.count(failed) == (mold == "--mold")
    assert server.count("changes were not watched: .*'/nowhere/python'") == 1
