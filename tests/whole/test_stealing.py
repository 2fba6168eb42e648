"""Nobody waits beside an idle worker: by itself, without the launcher, and nobody is woken in vain."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import psutil
import pytest

from tests.admin.asking import Control
from tests.conftest import Launch, Launched
from tests.whole.lines import GET, Line, Lines, stop_process, wait_until
from tests.whole.traffic import ask, listeners

pytestmark = pytest.mark.alone
ENOUGH = 40
"""New connections: that the hash gives none of them to one listener of two is 1 in 10¹²."""


class Blocked:
    """One worker stands in a request until `release`."""

    def __init__(self, server: Launched, lines: Lines, until: Path, way: str = "sleep") -> None:
        self._until = until
        [self.line] = lines.open(server.port, 1)
        self.pid = self.line.ask().who["pid"]
        self.line.send(f"GET /{way}?ms=60000&until={until} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_until(until.with_suffix(".begun").exists)

    def release(self) -> int:
        self._until.touch()
        return self.line.answer().status


def stolen(server: Launched) -> int:
    return sum(slot["stolen"] for slot in Control(server).status()["slots"])


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("way", ["sleep", "spin"])
def test_an_idle_worker_accepts_for_a_blocked_one(
    launch: Launch, tmp_path: Path, loop: str, way: str
) -> None:
    server = launch("stubborn:app", "--workers", "2", "--balance", "hash", "--loop", loop).ready(2)
    stop_process(server.pid)  # the launcher, which would have it fostered
    with Lines() as lines:
        blocked = Blocked(server, lines, tmp_path / "free", way)
        others = lines.open(server.port, ENOUGH)
        for line in others:
            line.send(GET)
        assert blocked.pid not in {line.answer().who["pid"] for line in others}
        assert blocked.release() == 200
        server.signal(signal.SIGCONT)
        wait_until(lambda: stolen(server) > 0)
        # Its own again, now that it turns.
        wait_until(lambda: str(blocked.pid) in ask(server.port))
    assert "Traceback" not in server.output
    assert server.stop() == 0


def test_a_busy_worker_looks_before_it_sleeps(launch: Launch, tmp_path: Path) -> None:
    server = launch("stubborn:app", "--workers", "2", "--balance", "hash").ready(2)
    stop_process(server.pid)
    with Lines() as lines:
        blocked = Blocked(server, lines, tmp_path / "free")
        while (busy := lines.open(server.port, 1)[0]).ask().who["pid"] == blocked.pid:
            pass
        busy.send(f"GET /sleep?ms=60000&until={tmp_path / 'soon'} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_until((tmp_path / "soon.begun").exists)
        others = lines.open(server.port, ENOUGH)
        for line in others:
            line.send(GET)
        (tmp_path / "soon").touch()
        assert busy.answer().status == 200
        assert blocked.pid not in {line.answer().who["pid"] for line in others}
        assert blocked.release() == 200
    server.signal(signal.SIGCONT)
    assert server.stop() == 0


def test_without_stealing_they_wait_for_the_launcher(launch: Launch, tmp_path: Path) -> None:
    flags = ("--balance", "hash", "--no-stealing")
    server = launch("stubborn:app", "--workers", "2", *flags).ready(2)
    stop_process(server.pid)
    with Lines() as lines:
        blocked = Blocked(server, lines, tmp_path / "free")
        others = lines.open(server.port, ENOUGH)
        for line in others:
            line.send(GET)
        assert blocked.release() == 200
        assert blocked.pid in {line.answer().who["pid"] for line in others}
    server.signal(signal.SIGCONT)
    assert stolen(server) == 0
    assert server.stop() == 0


def wakes(server: Launched, connections: int) -> float:
    """How often the workers slept and were woken, for each of so many connections that come one by one."""
    workers = [psutil.Process(pid) for pid in server.workers().values()]
    before = sum(worker.num_ctx_switches().voluntary for worker in workers)
    for _ in range(connections):
        ask(server.port)
    return (sum(worker.num_ctx_switches().voluntary for worker in workers) - before) / connections


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_connection_wakes_one_worker_and_no_other(launch: Launch, loop: str) -> None:
    flags = ("--workers", "4", "--balance", "hash", "--no-access-log", "--loop", loop)
    server = launch("plain:app", *flags).ready(4)
    without = launch("plain:app", *flags, "--no-stealing").ready(4)
    wakes(server, 50), wakes(without, 50)
    # Three idle siblings that were all woken would more than double it, every time.
    assert min(wakes(server, 130) / wakes(without, 130) for _ in range(4)) < 1.3
    assert stolen(server) <= 100  # when the owner is not scheduled for a while
    assert (server.stop(), without.stop()) == (0, 0)


def test_after_a_reload_each_slot_still_gets_its_own(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "3", "--balance", "hash", "--no-access-log").ready(3)
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    before = stolen(server)
    for _ in range(150):
        ask(server.port)
    assert stolen(server) - before <= 40  # those whose owner is not scheduled for a while
    assert server.stop() == 0


def test_who_connects_while_a_blocked_worker_holds_a_stop_up_is_answered(
    launch: Launch, tmp_path: Path
) -> None:
    server = launch("stubborn:app", "--workers", "2", "--balance", "hash").ready(2)
    with Lines() as lines:
        blocked = Blocked(server, lines, tmp_path / "free")
        server.signal(signal.SIGTERM)
        server.wait_for(r"worker in slot \d \(pid \d+\) exited cleanly")
        # The blocked one has its own listener, and a duplicate of the other's.
        assert len(listeners(server.port)) == 2
        late = lines.open(server.port, ENOUGH)
        for line in late:
            line.send(GET)
        assert blocked.release() == 200
        assert {line.answer().who["pid"] for line in late} == {blocked.pid}
        assert all(line.ends() for line in late)
    assert server.wait() == 0


def test_tls_is_stolen_too(launch: Launch, tmp_path: Path) -> None:
    import ssl

    import trustme

    authority = trustme.CA()
    certificate = tmp_path / "both.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    flags = ("--balance", "hash", "--ssl-certfile", str(certificate))
    server = launch("stubborn:app", "--workers", "2", *flags).ready(2)
    stop_process(server.pid)
    until = tmp_path / "free"
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Line(server.port, context))
        pid = first.ask().who["pid"]
        first.send(f"GET /sleep?ms=60000&until={until} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_until(until.with_suffix(".begun").exists)
        for _ in range(12):
            assert stack.enter_context(Line(server.port, context)).ask().who["pid"] != pid
        until.touch()
        assert first.answer().status == 200
    server.signal(signal.SIGCONT)
    assert server.stop() == 0
