"""Started with listeners that a service manager has opened, and goes on to hold when we are gone."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.clients import client
from tests.whole.lines import wait_until
from tests.whole.reachable import reachable
from tests.whole.test_orphans import wait_until_gone

# Receives the listeners, puts them where they belong, and becomes the command.
_START = """
import fcntl, os, socket, sys
with socket.socket(socket.AF_UNIX) as manager:
    manager.connect(sys.argv[1])
    _, fds, _, _ = socket.recv_fds(manager, 1, 200)
# First out of the way of each other.
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in fds]
for position, fd in enumerate(fds):
    os.dup2(fd, 3 + position)
names = ":".join(["http"] * len(fds))
os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """Holds listeners of one port, and starts whoever is to serve them."""

    def __init__(self, place: Path, number: int) -> None:
        self.listeners: list[socket.socket] = []
        for _ in range(number):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self.port if self.listeners else 0))
            listener.listen(128)
            self.listeners.append(listener)
        self.place = place / "manager"
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(self.place))
        self._door.listen()

    @property
    def port(self) -> int:
        return int(self.listeners[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(
        self, launch: Launch, *arguments: str, wrapper: tuple[str, ...] = (), cwd: Path | None = None
    ) -> Launched:
        # Without an address: `--bind` would say where to listen, and --app-dir is the fixture's.
        server = launch(
            "plain:app",
            "--host=127.0.0.1",
            "--port",
            "8000",
            *arguments,
            wrapper=[sys.executable, "-c", _START, str(self.place), *wrapper],
            cwd=cwd,
        )
        visitor, _ = self._door.accept()
        with visitor:
            socket.send_fds(visitor, [b"x"], [listener.fileno() for listener in self.listeners])
        return server

    def close(self) -> None:
        for each in (*self.listeners, self._door):
            each.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path, 3)
    yield made
    made.close()


def slots_that_answer(url: str, wanted: int) -> set[str]:
    """Who answers, until so many have."""
    found: set[str] = set()

    def asked() -> bool:
        with client() as asking:
            found.add(asking.get(url).json()["slot"])
        return len(found) >= wanted

    wait_until(asked, lambda: str(found))
    return found


def crowd(manager: Manager) -> list[socket.socket]:
    """Clients that have connected and ask later."""
    return [socket.create_connection(("127.0.0.1", manager.port), PATIENCE) for _ in range(12)]


def all_answered(clients: list[socket.socket]) -> bool:
    answers = []
    for each in clients:
        with each:
            each.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            answers.append(each.recv(15))
    return set(answers) == {b"HTTP/1.1 200 OK"}


@pytest.mark.parametrize("balance", ["auto", "hash"])
def test_each_slot_has_its_own_and_restarts_lose_nobody(
    balance: str, launch: Launch, manager: Manager
) -> None:
    # Somebody is there before we are.
    early = crowd(manager)
    server = manager.start(launch, "--workers", "auto", "--balance", balance).ready(3)
    server.wait_for_first(rf"passes 3 listeners of 127\.0\.0\.1:{manager.port}: one for each slot")
    assert slots_that_answer(manager.url, 3) == {"0", "1", "2"}
    assert all_answered(early)
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves")
    # A crash of everything: nobody tidies up, and the program stays where it was.
    workers = [os.pidfd_open(pid) for pid in server.workers().values()]
    server.signal(signal.SIGKILL)
    server.popen.wait(PATIENCE)
    wait_until_gone(workers)  # they take leave, and of who says nothing, too
    waiting = crowd(manager)
    again = manager.start(launch, "--balance", balance).ready(3)
    assert all_answered(waiting)
    assert slots_that_answer(manager.url, 3) == {"0", "1", "2"}
    assert again.count("not steered") == 0
    # And in an orderly way; the manager's listeners stay.
    assert again.stop() == 0
    with socket.create_connection(("127.0.0.1", manager.port)):
        pass
    assert "Traceback" not in server.output + again.output
    assert "defect" not in server.output + again.output


def test_clients_of_slots_that_are_not_ready_are_served_by_those_that_are(
    launch: Launch, manager: Manager
) -> None:
    """The manager's listeners listen before any worker does."""
    server = manager.start(launch, "--balance", "hash").ready(3)
    control = Control(server)
    victim = control.slot(1)["pid"]
    os.kill(victim, signal.SIGKILL)
    for _ in range(20):
        assert httpx.get(manager.url, timeout=PATIENCE).status_code == 200
    server.wait_for("slot 1 is ready")
    assert server.stop() == 0


def test_no_more_slots_than_listeners_where_they_are_somebody_elses(launch: Launch, manager: Manager) -> None:
    wrapper = reachable()
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")
    server = manager.start(launch, "--no-control", wrapper=(*wrapper, *nobody), cwd=Path("/")).ready(3)
    server.wait_for_first("no more than 3 slots: .* belong to root, and nobody")
    server.signal(signal.SIGTTIN)
    server.wait_for("scaling refused: 3 is the limit")
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves")
    assert server.stop() == 0


def test_other_slots_join_where_they_are_ours(launch: Launch, manager: Manager) -> None:
    server = manager.start(launch).ready(3)
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 3 is ready")
    assert slots_that_answer(manager.url, 4) == {"0", "1", "2", "3"}
    assert server.stop() == 0


def test_too_many_workers_are_refused_before_anything_starts(launch: Launch, manager: Manager) -> None:
    server = manager.start(launch, "--workers", "4")
    assert server.wait() == 2
    assert "--workers 4, and the service manager passes 3 listeners" in server.output


def test_a_single_one_is_shared(launch: Launch, tmp_path: Path) -> None:
    alone = Manager(tmp_path, 1)
    server = alone.start(launch, "--workers", "2").ready(2)
    server.wait_for_first(r"\(descriptor 3, http\): all workers share it")
    assert httpx.get(alone.url, timeout=PATIENCE).status_code == 200
    assert server.stop() == 0
    alone.close()
