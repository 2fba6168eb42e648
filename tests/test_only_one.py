"""`only_one` in one process, where every seat is what a worker of its own would have."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import reuseport
from reuseport import Draining, exclusion, only_one
from reuseport.exclusion import PAUSE, OnlyOne, Seat
from reuseport.launcher.exclusion import Exclusion

PATIENCE = 30.0


class Server:
    """The launcher's file, and the seats of workers."""

    def __init__(self, undo: ExitStack) -> None:
        self._undo = undo
        self.exclusion = Exclusion()
        undo.callback(self.exclusion.close)

    def seat(self, notice: Draining | None = None) -> Seat:
        with self.exclusion.opened() as (fd,):
            copy = os.dup(fd)
        self._undo.callback(os.close, copy)
        return Seat(copy, notice or Draining())


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as undo:
        yield Server(undo)


@pytest.fixture
def seat(server: Server, monkeypatch: pytest.MonkeyPatch) -> Seat:
    """This process is a worker."""
    seat = server.seat()
    monkeypatch.setattr(exclusion, "_seat", seat)
    return seat


def test_workers_hold_a_name_one_at_a_time_and_others_beside_it(server: Server) -> None:
    one, other = server.seat(), server.seat()
    assert one.take("mail")
    assert not one.take("mail"), "another task of the same worker"
    assert not other.take("mail")
    assert other.take("news")
    assert one.held() == ("mail",)
    assert server.exclusion.is_held("mail")
    one.release("mail")
    assert not server.exclusion.is_held("mail")
    assert other.take("mail")
    assert other.held() == ("mail", "news")


def test_the_launchers_file_holds_nothing_and_cannot_be_written(server: Server) -> None:
    with server.exclusion.opened() as (fd,):
        for spoil in (lambda: os.write(fd, b"x"), lambda: os.ftruncate(fd, 1)):
            with pytest.raises(PermissionError):
                spoil()


def test_who_cannot_have_it_waits_without_holding_up_the_loop(server: Server, seat: Seat) -> None:
    other = server.seat()
    assert other.take("mail")

    async def go() -> None:
        entered = asyncio.Event()

        async def body() -> None:
            async with only_one("mail") as notice:
                assert notice is reuseport.draining
                entered.set()

        waiting = asyncio.create_task(body())
        for _ in range(100):
            await asyncio.sleep(0)  # the loop turns
        assert not entered.is_set()
        other.release("mail")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.wait_for(waiting, PATIENCE)
        assert loop.time() - began < 1.0
        assert seat.held() == ()

    asyncio.run(go())


def test_waiting_can_be_cancelled_and_holds_nothing_afterwards(server: Server, seat: Seat) -> None:
    other = server.seat()
    assert other.take("mail")

    async def go() -> None:
        async def body() -> None:
            async with only_one("mail"):
                pytest.fail("it is held")

        waiting = asyncio.create_task(body())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        other.release("mail")
        # Whatever moment it is cancelled in: the try after which it would have it is over by then.
        await asyncio.sleep(PAUSE[1])
        assert seat.held() == ()
        assert other.take("mail")

    asyncio.run(go())


def test_whoever_leaves_the_body_lets_go_also_by_an_error(server: Server, seat: Seat) -> None:
    async def go() -> None:
        async with only_one("mail"):
            assert seat.held() == ("mail",)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(go())
    assert server.seat().take("mail")


def test_tasks_of_one_worker_take_turns(seat: Seat) -> None:
    async def go() -> None:
        inside = most = 0

        async def body() -> None:
            nonlocal inside, most
            async with only_one("mail"):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.wait_for(asyncio.gather(*(body() for _ in range(3))), PATIENCE)
        assert most == 1

    asyncio.run(go())


def test_a_worker_that_drains_gets_nothing_and_keeps_what_it_has(server: Server) -> None:
    notice = Draining()
    leaving, other = server.seat(notice), server.seat()
    assert leaving.take("mail")
    notice.set()
    assert not leaving.take("news")
    assert not other.take("mail"), "never two"
    leaving.release("mail")
    assert other.take("mail")


FORKING = """
import os, sys
from reuseport.exclusion import Seat

seat = Seat(int(sys.argv[1]))
print(seat.take("mail"), flush=True)
child = os.fork()
if child == 0:
    try:
        print(seat.take("news"), flush=True)
    except RuntimeError as error:
        print(error, flush=True)
    seat.release("mail")
    os._exit(0)
os.waitpid(child, 0)
print("alone", flush=True)
input()
"""


def test_what_a_worker_forks_is_refused_and_lets_nothing_go(server: Server) -> None:
    with server.exclusion.opened() as (fd,):
        worker = subprocess.Popen(
            [sys.executable, "-c", FORKING, str(fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[fd],
            text=True,
        )
    with worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "True\n"
        assert "not for a process that it has forked" in worker.stdout.readline()
        assert worker.stdout.readline() == "alone\n"
        assert not server.seat().take("mail")
        worker.kill()
    assert server.seat().take("mail")


def test_a_descriptor_that_the_application_has_closed_locks_nothing_of_its_own(server: Server) -> None:
    seat = server.seat()
    (fd,) = seat.descriptors()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)
    with pytest.raises(RuntimeError, match="the application has closed our descriptor"):
        seat.take("mail")
    seat.release("mail")
    assert seat.held() == ()


def test_outside_a_server_it_is_refused_or_held_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REUSEPORT_SLOT", raising=False)

    async def enter(one: OnlyOne) -> None:
        async with one:
            pass

    asyncio.run(enter(only_one("mail", outside="held")))
    with pytest.raises(RuntimeError, match=r"python -m reuseport.*only_one\('mail', outside=\"held\"\)"):
        asyncio.run(enter(only_one("mail")))
    monkeypatch.setenv("REUSEPORT_SLOT", "0")
    with pytest.raises(RuntimeError, match="not for a process that it has started"):
        asyncio.run(enter(only_one("mail", outside="held")))


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_names_have_a_length(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 100 characters"):
        only_one(name)


def test_what_holds_outside_is_one_of_two_words() -> None:
    with pytest.raises(ValueError, match="'refuse' or 'held', not 'yes'"):
        only_one("mail", outside="yes")  # type: ignore[arg-type]


def test_where_files_cannot_be_opened_by_descriptor_the_worker_gets_none(tmp_path: Path) -> None:
    """A jail without /proc: the log says so, once."""
    code = """
import logging, os
from reuseport.launcher.exclusion import Exclusion
logging.basicConfig(format="%(message)s")
exclusion = Exclusion()
os.chroot(os.environ["EMPTY"])
for _ in range(2):
    with exclusion.opened() as locks:
        print(locks)
"""
    if os.geteuid() != 0:
        pytest.skip("only root can leave /proc behind")
    env = {**os.environ, "EMPTY": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "[]\n[]\n"
    assert done.stderr.count("no lock file") == 1
