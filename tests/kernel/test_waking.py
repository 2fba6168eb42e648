"""Who is woken for a connection: whoever came first of those who sleep, and nobody else."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reuseport.kernel.waking import wait_alone, wait_no_more

PATIENCE = 30.0
TOLD_AS = 4711


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


class Sleeper:
    """A thread that waits in an epoll instance for one event, and notes it."""

    def __init__(self, epoll: select.epoll) -> None:
        self.woken: list[tuple[int, int]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._sleep, args=(epoll,), daemon=True)
        self._thread.start()
        self._ready.wait(PATIENCE)
        while _state(self._task) != "S":
            pass

    def _sleep(self, epoll: select.epoll) -> None:
        self._task = threading.get_native_id()
        self._ready.set()
        self.woken = epoll.poll(PATIENCE)

    def asleep(self) -> bool:
        return _state(self._task) == "S"

    def wakes(self) -> list[tuple[int, int]]:
        self._thread.join(PATIENCE)
        return self.woken


def _state(task: int) -> str:
    return Path(f"/proc/self/task/{task}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def epolls(listener: socket.socket, number: int, *, once: bool = False) -> list[select.epoll]:
    """So many that wait for the listener, one after the other."""
    made = [select.epoll() for _ in range(number)]
    for each in made:
        wait_alone(each.fileno(), listener.fileno(), TOLD_AS, once=once)
    return made


def connected(listener: socket.socket) -> socket.socket:
    return socket.create_connection(listener.getsockname(), PATIENCE)


def test_the_first_is_woken_and_no_other(listener: socket.socket) -> None:
    first, second = epolls(listener, 2)
    sleepers = Sleeper(first), Sleeper(second)
    with connected(listener):
        assert sleepers[0].wakes() == [(TOLD_AS, select.EPOLLIN)]
        assert sleepers[1].asleep()
        # Now nobody sleeps before it.
        with connected(listener):
            assert sleepers[1].wakes() == [(TOLD_AS, select.EPOLLIN)]


def test_who_does_not_sleep_finds_it_later_if_it_is_still_there(listener: socket.socket) -> None:
    busy, asleep = epolls(listener, 2)
    sleeper = Sleeper(asleep)
    with connected(listener):
        assert sleeper.wakes() == [(TOLD_AS, select.EPOLLIN)]
        assert busy.poll(0) == [(TOLD_AS, select.EPOLLIN)]
        listener.accept()[0].close()
        assert busy.poll(0) == []


@pytest.mark.parametrize("once", [True, False])
def test_once_is_once_for_each_connection(listener: socket.socket, once: bool) -> None:
    [epoll] = epolls(listener, 1, once=once)
    with connected(listener):
        assert len(epoll.poll(PATIENCE)) == 1
        assert len(epoll.poll(0)) == (0 if once else 1)
        with connected(listener):
            assert len(epoll.poll(PATIENCE)) == 1


def test_who_is_in_the_queue_already_is_told_of(listener: socket.socket) -> None:
    with connected(listener), select.epoll() as epoll:
        wait_alone(epoll.fileno(), listener.fileno(), TOLD_AS, once=True)
        assert epoll.poll(PATIENCE) == [(TOLD_AS, select.EPOLLIN)]


def test_no_more_is_no_more_and_says_whether_it_was(listener: socket.socket) -> None:
    [epoll] = epolls(listener, 1)
    copy = os.dup(listener.fileno())
    try:
        assert not wait_no_more(epoll.fileno(), copy)  # a duplicate is another registration
        assert wait_no_more(epoll.fileno(), listener.fileno())
        assert not wait_no_more(epoll.fileno(), listener.fileno())
        with connected(listener):
            assert epoll.poll(0.01) == []
        with pytest.raises(OSError, match="Bad file descriptor"):
            wait_no_more(epoll.fileno(), -1)
    finally:
        os.close(copy)
