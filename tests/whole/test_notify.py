"""sd_notify(3) between the real command and a real datagram socket: more a service manager is not, to us."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import APPS, PATIENCE, Launch
from tests.whole.clients import client
from tests.whole.lines import wait_until
from tests.whole.modules import FRESH


class Manager:
    """Hears everything, in order; each datagram as its lines."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.heard: list[list[str]] = []
        self._seen = 0

    def take(self, wait: float = 0.0) -> None:
        """What has come; waits for the first."""
        while select.select([self._listener], [], [], wait)[0]:
            self.heard.append(self._listener.recv(65536).decode().split("\n"))
            wait = 0.0

    def wait_for(self, pattern: str) -> list[str]:
        """The next datagram with such a line, after the last one that was waited for."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for index in range(self._seen, len(self.heard)):
                if any(re.fullmatch(pattern, line) for line in self.heard[index]):
                    self._seen = index + 1
                    return self.heard[index]
            self.take(0.5)
        pytest.fail(f"nobody said {pattern!r}: {self.heard}")

    def lines(self) -> list[str]:
        self.take()
        return [line for lines in self.heard for line in lines]


@contextlib.contextmanager
def managed(address: str | bytes) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        yield Manager(listener)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Manager, dict[str, str]]]:
    """At a path."""
    path = str(tmp_path / "notify")
    with managed(path) as manager:
        yield manager, {"NOTIFY_SOCKET": path}


def test_a_life_as_the_manager_hears_it(launch: Launch, place: tuple[Manager, dict[str, str]]) -> None:
    manager, env = place
    server = launch("plain:app", "--workers", "2", "--min-ready", "2", env=env)
    manager.wait_for("EXTEND_TIMEOUT_USEC=15000000")
    ready = manager.wait_for("READY=1")
    assert "STATUS=2 of 2 workers are ready, generation 1" in ready
    with client() as asking:
        assert asking.get(server.url).status_code == 200
    before = time.monotonic_ns() // 1000
    server.signal(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING=1")
    said = next(line for line in reloading if line.startswith("MONOTONIC_USEC="))
    assert before <= int(said.partition("=")[2]) <= time.monotonic_ns() // 1000
    assert "READY=1" not in reloading
    manager.wait_for(r"STATUS=reloading to generation 2: 1 of 2 slots; .*")
    again = manager.wait_for("READY=1")
    assert "STATUS=2 of 2 workers are ready, generation 2" in again
    assert server.stop() == 0
    manager.wait_for("STOPPING=1")
    lines = manager.lines()
    assert lines.count("READY=1") == 2
    assert lines.count("STOPPING=1") == 1
    assert lines[-1] == "STATUS=stopping: 0 workers are left"
    # Nobody asked for signs of life, and nobody else than we may say who we are.
    assert not [line for line in lines if line.startswith(("WATCHDOG", "MAINPID", "BARRIER"))]


def test_an_abstract_name(launch: Launch) -> None:
    name = f"reuseport-test-{os.getpid()}"
    with managed(f"\0{name}") as manager:
        server = launch("plain:app", env={"NOTIFY_SOCKET": f"@{name}"})
        manager.wait_for("READY=1")
        assert server.stop() == 0
        manager.wait_for("STOPPING=1")


def test_a_start_that_fails_and_a_reload_that_fails(
    launch: Launch, place: tuple[Manager, dict[str, str]], tmp_path: Path
) -> None:
    manager, env = place
    env = {**env, **FRESH, "PYTHONPATH": str(APPS)}
    shop = tmp_path / "shop.py"
    shop.write_text("from plain import app\n")
    server = launch("shop:app", "--app-dir", str(tmp_path), env=env)
    manager.wait_for("READY=1")
    shop.write_text("raise RuntimeError('sold\\nREADY=1')\n")
    server.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    told = manager.wait_for("READY=1")
    (status,) = [line for line in told if line.startswith("STATUS=")]
    assert "1 of 1 worker is ready, generation 1; the last reload was aborted: " in status
    # The next one says nothing of the last.
    shop.write_text("from plain import app\n")
    server.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    assert "STATUS=1 of 1 worker is ready, generation 3" in manager.wait_for("READY=1")
    assert server.stop() == 0
    manager.heard.clear()
    manager._seen = 0
    shop.write_text("raise RuntimeError('sold')\n")
    assert launch("shop:app", "--app-dir", str(tmp_path), env=env).wait() == 3
    manager.wait_for("STOPPING=1")
    assert "READY=1" not in manager.lines()


def test_a_command_before_the_reload_that_fails_is_a_reload_that_fails(
    launch: Launch, place: tuple[Manager, dict[str, str]]
) -> None:
    """Who has sent SIGHUP waits for both words (Type=notify-reload)."""
    manager, env = place
    server = launch("plain:app", "--before-reload", "false", env=env)
    manager.wait_for("READY=1")
    for _ in range(2):
        server.signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        (status,) = [line for line in manager.wait_for("READY=1") if line.startswith("STATUS=")]
        assert status.endswith("the last reload was aborted: --before-reload exited with status 1")
    assert server.stop() == 0


def test_signs_of_life_end_when_the_loop_does_not_turn(
    launch: Launch, place: tuple[Manager, dict[str, str]]
) -> None:
    manager, env = place
    server = launch("plain:app", env={**env, "WATCHDOG_USEC": "400000"})
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("WATCHDOG=1")
    server.signal(signal.SIGSTOP)
    wait_until(lambda: "T" in Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0])
    manager.take()
    manager.heard.clear()
    manager._seen = 0
    manager.take(1.0)
    assert manager.heard == []
    server.signal(signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")
    assert server.stop() == 0


def test_signs_of_life_that_somebody_else_owes(launch: Launch, place: tuple[Manager, dict[str, str]]) -> None:
    manager, env = place
    server = launch("plain:app", env={**env, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
    manager.wait_for("READY=1")
    server.signal(signal.SIGHUP)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    assert server.stop() == 0
    assert "WATCHDOG=1" not in manager.lines()


def fill(address: str) -> int:
    """Send until nobody has room any more, by as many senders as it takes: each has a limit of its own."""
    filled = before = 0
    while before == 0 or filled > before:
        before = filled
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as crowd, contextlib.suppress(BlockingIOError):
            crowd.setblocking(False)
            while True:
                crowd.sendto(b"X=crowd", address)
                filled += 1
    return filled


def test_a_manager_that_does_not_read_holds_nothing_up_and_hears_the_truth_later(
    launch: Launch, place: tuple[Manager, dict[str, str]]
) -> None:
    manager, env = place
    filled = fill(env["NOTIFY_SOCKET"])
    server = launch("plain:app", "--workers", "2", env={**env, "WATCHDOG_USEC": "400000"}).ready(2)
    server.wait_for_first("the service manager was not told .*: its queue is full")
    with client() as asking:
        assert asking.get(server.url).status_code == 200
    manager.take()
    assert len(manager.heard) == filled
    manager.wait_for("READY=1")
    assert server.stop() == 0
    assert server.count("the service manager was not told") == 1


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("/nowhere/notify", "No such file or directory"),
        ("/" + "x" * 200, "too long"),
        ("vsock:2:1234", "neither a path nor an abstract name"),
        ("notify", "neither a path nor an abstract name"),
    ],
)
def test_a_manager_that_is_not_there(name: str, word: str, launch: Launch) -> None:
    server = launch("plain:app", env={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "soon"}).ready(1)
    server.wait_for_first(word)
    server.wait_for_first("WATCHDOG_USEC is 'soon', no number of microseconds")
    assert server.stop() == 0


def test_a_manager_that_goes_and_comes_back(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "notify"
    env = {"NOTIFY_SOCKET": str(path)}
    with managed(str(path)) as manager:
        server = launch("plain:app", env=env)
        manager.wait_for("READY=1")
    path.unlink()
    server.signal(signal.SIGHUP)
    server.wait_for("the service manager was not told")
    server.wait_for("generation 2 serves")
    with managed(str(path)) as manager:
        # RELOADING was for who is gone.
        manager.wait_for("READY=1")
        assert server.stop() == 0


def test_a_reader_that_floods_us_back_is_not_heard(
    launch: Launch, place: tuple[Manager, dict[str, str]]
) -> None:
    """Our socket has no name, so nobody can send to it."""
    manager, env = place
    listener = manager._listener
    senders: list[object] = []

    def read() -> None:
        senders.extend(listener.recvfrom(65536)[1] for _ in range(3))

    reading = threading.Thread(target=read)
    reading.start()
    server = launch("plain:app", "--workers", "2", "--min-ready", "2", env=env).ready(2)
    server.signal(signal.SIGHUP)
    reading.join(PATIENCE)
    assert senders == [None] * 3
    assert server.stop() == 0
