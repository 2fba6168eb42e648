"""Workers are forked from a mold; whatever becomes of it, they serve, and others are started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx
import psutil
import pytest

from reuseport.channel import Channel
from reuseport.messages import TO_MOLD, Born, Failed, FromMold, Message, Prepared, Unborn
from reuseport.packets import encode
from tests.conftest import PATIENCE, Launch, Launched, command, survivors, zombies
from tests.whole.lines import wait_until

DEBUG = ("--mold", "--log-level", "debug")
PIDFD_OPEN, PIDFD_GETFD = 434, 438  # include/uapi/asm-generic/unistd.h


@pytest.fixture
def server(launch: Launch) -> Launched:
    started = launch("plain:app", "--workers", "2", *DEBUG).ready(2)
    started.wait_for_first("the mold of generation 1 is ready")
    return started


def test_workers_are_children_of_the_launcher_and_called_as_if_executed(server: Launched) -> None:
    workers = server.workers()
    assert set(workers) == {0, 1}
    assert all(psutil.Process(pid).ppid() == server.pid for pid in workers.values())
    assert all("reuseport.worker" in command(psutil.Process(pid)) for pid in workers.values())
    assert httpx.get(server.url).json()["slot"] in {"0", "1"}
    os.kill(workers[1], signal.SIGKILL)
    server.wait_for(rf"worker in slot 1 \(pid {workers[1]}\) was killed by SIGKILL")
    server.wait_for(r"slot 1 is ready \(generation 1, .* reason: crash\)")
    assert len(server.molds()) == 1
    assert server.stop() == 0


def test_the_first_one_is_executed_before_the_launcher_is_whole(launch: Launch) -> None:
    server = launch("plain:app", "--mold").ready(1)
    (mold,) = server.molds()
    first = datetime.strptime(server.lines[0][:23], "%Y-%m-%d %H:%M:%S,%f").astimezone()
    assert mold.create_time() < first.timestamp()
    assert server.stop() == 0


def test_what_is_refused_leaves_none_of_it(launch: Launch) -> None:
    server = launch("plain:app").ready(1)
    other = launch("plain:app", "--mold", "--port", str(server.port))
    assert other.wait() == 2
    assert survivors(other.pid) == []


def test_a_stop_before_anything_is_ready_leaves_none_of_it(launch: Launch) -> None:
    server = launch("plain:app", "--mold")
    wait_until(lambda: bool(server.molds()))
    assert server.stop() == 0
    assert survivors(server.pid) == []


def test_they_share_no_random_numbers(launch: Launch) -> None:
    server = launch("chancy:app", "--workers", "2", *DEBUG).ready(2)
    drawn = {re.search(r"drawn (\S+)", line)[1] for line in server.lines if "drawn" in line}  # type: ignore[index]
    assert len(drawn) == 2


def test_without_one_they_are_executed(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--no-mold").ready(2)
    assert server.molds() == []
    assert set(server.workers()) == {0, 1}
    assert server.stop() == 0


def test_a_reload_brings_its_own_and_ends_the_old_one(server: Launched) -> None:
    (old,) = server.molds()
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    old.wait(30)
    (new,) = server.molds()
    assert new.pid != old.pid
    assert server.stop() == 0
    assert not psutil.pid_exists(new.pid)


def test_an_aborted_reload_leaves_the_old_one(launch: Launch, tmp_path: Path) -> None:
    module = tmp_path / "fickle.py"
    module.write_text("async def app(scope, receive, send): ...\n")
    server = launch("fickle:app", "--app-dir", str(tmp_path), "--lifespan", "off", *DEBUG).ready(1)
    (old,) = server.molds()
    module.write_text("raise RuntimeError('not today')\n")
    server.signal(signal.SIGHUP)
    server.wait_for("reload to generation 2 aborted")
    module.write_text("async def app(scope, receive, send): ...\n")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert [mold.pid for mold in server.molds()] == [old.pid]
    assert server.stop() == 0


def test_one_that_is_killed_hurts_nobody_and_is_followed_by_another(server: Launched) -> None:
    (mold,) = server.molds()
    before = server.workers()
    mold.kill()
    server.wait_for("the mold of generation 1 is gone, with status -9; workers are executed afresh")
    os.kill(before[0], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert server.workers()[1] == before[1]
    wait_until(lambda: server.count("the mold of generation 1 is ready") == 2, lambda: server.output)
    assert len(server.molds()) == 1
    assert server.stop() == 0


def test_one_that_does_not_answer_is_killed_and_the_worker_executed(server: Launched) -> None:
    (mold,) = server.molds()
    mold.suspend()
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for("the mold of generation 1 is killed: it does not answer")
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert server.stop() == 0


def test_a_stop_does_not_wait_for_who_was_never_born(server: Launched) -> None:
    (mold,) = server.molds()
    mold.suspend()
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for("worker in slot 0 .* was killed by SIGKILL")
    assert server.stop() in (0, 1)  # the killed one counts as cut short only if the stop had begun


def test_a_worker_that_dies_unborn_is_no_stray(server: Launched) -> None:
    """It is killed before the launcher has heard of its birth: its exit is told as any other's."""
    (mold,) = server.molds()
    mold.suspend()
    launcher = psutil.Process(server.pid)
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for("worker in slot 0 .* was killed by SIGKILL")
    with channel_of(mold) as ordered:
        # The order for its successor has been sent: only then may the launcher stand still.
        assert select.select([ordered], [], [], PATIENCE)[0]
    launcher.suspend()
    try:
        mold.resume()
        newborn = _wait_for_child(launcher, {mold.pid, *server.workers().values()})
        newborn.kill()
    finally:
        launcher.resume()
    server.wait_for(rf"worker in slot 0 \(pid {newborn.pid}\) was killed by SIGKILL")
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert zombies(server.pid) == []
    assert server.stop() == 0


def _wait_for_child(parent: psutil.Process, known: set[int]) -> psutil.Process:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in parent.children():
            if child.pid not in known and child.status() != psutil.STATUS_ZOMBIE:
                return child
    pytest.fail("nobody was born")


def channel_of(mold: psutil.Process) -> socket.socket:
    """The mold's end of its channel, in our hands as well; skips where that is not allowed."""
    arguments = command(mold)
    channel = int(arguments[arguments.index("--channel") + 1])
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(PIDFD_OPEN, mold.pid, 0)
    fd = libc.syscall(PIDFD_GETFD, pidfd, channel, 0)
    os.close(pidfd)
    if fd < 0:
        pytest.skip(f"pidfd_getfd(2): {os.strerror(ctypes.get_errno())}")
    return socket.socket(fileno=fd)


@pytest.fixture
def liar(server: Launched) -> Iterator[Channel[FromMold]]:
    """The mold's end of its channel, in our hands; the mold is stopped."""
    (mold,) = server.molds()
    mold.suspend()
    end = Channel(channel_of(mold), TO_MOLD)
    yield end  # type: ignore[misc]
    end.close()


LIES: dict[str, Callable[[Launched], int]] = {
    "a sibling's pid": lambda server: server.workers()[1],
    "the launcher's own pid": lambda server: server.pid,
    "init's pid": lambda _: 1,
    "no pid": lambda _: 0,
    "a pid beyond all": lambda _: 2**40,
}


@pytest.mark.parametrize("lie", LIES)
def test_no_pid_is_believed(server: Launched, liar: Channel[FromMold], lie: str) -> None:
    number = 3  # the third worker that was ever ordered
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for("worker in slot 0 .* was killed by SIGKILL")
    liar.send(Born(number, LIES[lie](server)))
    server.wait_for("the mold of generation 1 is killed: it says that worker 3 is pid .*, which it is not")
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert httpx.get(server.url).status_code == 200
    assert server.stop() == 0


def test_a_child_of_the_launchers_that_is_no_worker_is_not_taken_for_one(launch: Launch) -> None:
    """Who executes the launcher may leave it children; to a container's comes every orphan."""
    wrapper = ["sh", "-c", 'sleep 1000 >/dev/null 2>&1 & exec "$@"', "sh"]
    server = launch("plain:app", "--workers", "2", *DEBUG, wrapper=wrapper).ready(2)
    server.wait_for_first("the mold of generation 1 is ready")
    (mold,) = server.molds()
    (child,) = [each for each in server.children() if each.name() == "sleep"]
    with contextlib.closing(Channel(channel_of(mold), TO_MOLD)) as end:
        mold.suspend()
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for("worker in slot 0 .* was killed by SIGKILL")
        end.send(Born(3, child.pid))
        server.wait_for(
            "the mold of generation 1 is killed: it says that worker 3 is .*, which does not say so"
        )
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert server.stop() == 0
    assert child.is_running()
    child.kill()
    child.wait(PATIENCE)


def test_what_is_no_message_condemns_it(server: Launched, liar: Channel[FromMold]) -> None:
    liar._socket.send(random.Random(1).randbytes(100))
    server.wait_for("the mold of generation 1 is killed: .* is no JSON")
    server.wait_for("the mold of generation 1 is ready")
    assert server.stop() == 0


@pytest.mark.parametrize("message", [Prepared(), Failed("operator", "no"), Born(999, 1), Unborn(999, "no")])
def test_one_that_says_what_nobody_asked_is_killed_at_once(
    server: Launched, liar: Channel[FromMold], message: Message
) -> None:
    packet = encode(message)
    liar._socket.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionError):  # it is killed, and nobody reads any more
        while True:
            liar._socket.send(packet)
    server.wait_for("the mold of generation 1 is killed: it says that .* nobody")
    server.wait_for("the mold of generation 1 is ready")
    assert server.count("cannot fork") == 0, "no line for each"
    assert server.stop() == 0


def test_who_was_not_ordered_is_not_awaited(server: Launched, liar: Channel[FromMold]) -> None:
    liar.send(Born(999, 1))
    liar.send(Prepared())
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(r"slot 0 is ready \(generation 1, .* reason: crash\)")
    assert server.stop() == 0
