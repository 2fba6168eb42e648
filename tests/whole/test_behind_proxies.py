"""Behind a proxy that keeps its connections to us: nobody at its front sees what we do, but for a crash.

Then what is lost is what the killed worker was executing, and a proxy may ask again even for that.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.admin.asking import Control
from tests.conftest import Launch, Launched
from tests.whole.lines import Line, Load, settled, wait_until
from tests.whole.proxies import PROXIES, Proxy

CLIENTS = 6
WAIT = b"GET /wait?s=2 HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture(params=PROXIES)
def proxy(request: pytest.FixtureRequest) -> Proxy:
    return PROXIES[request.param]


@contextmanager
def served(launch: Launch, proxy: Proxy, place: Path) -> Iterator[tuple[Launched, int]]:
    server = launch("plain:app", "--workers", "2", "--no-access-log").ready(2)
    with proxy.before(server.port, place) as front:
        yield server, front
        assert server.stop() == 0


def test_reloads_and_scaling_are_not_seen(proxy: Proxy, launch: Launch, tmp_path: Path) -> None:
    with served(launch, proxy, tmp_path) as (server, front):
        control = Control(server)
        with Load(front, CLIENTS, 2) as load:
            load.wait_for_more()
            server.signal(signal.SIGHUP)
            server.wait_for("generation 2 serves in every slot")
            server.signal(signal.SIGTTIN)
            server.wait_for("slot 2 is ready .* reason: scale")
            load.wait_for_more()
            server.signal(signal.SIGTTOU)
            server.wait_for(r"worker in slot 2 \(pid \d+\) exited cleanly")
            load.wait_for_more()
        assert (load.failures, load.announced) == ([], 0)
        slots = [control.slot(slot) for slot in range(2)]
        # Or this test would show nothing.
        assert sum(slot["accepted"] for slot in slots) < sum(slot["requests"] for slot in slots) / 2


def test_a_crash_costs_what_the_worker_was_executing(proxy: Proxy, launch: Launch, tmp_path: Path) -> None:
    with served(launch, proxy, tmp_path) as (server, front), ExitStack() as opened:
        control = Control(server)
        lines = [opened.enter_context(Line(front)) for _ in range(CLIENTS)]
        for line in lines:
            assert line.ask().status == 200  # connections that are kept, and may be the killed worker's
        for line in lines:
            line.send(WAIT)
        wait_until(lambda: sum(executing(control)) == CLIENTS, lambda: executing(control))
        doomed = max((0, 1), key=executing(control).__getitem__)
        most = executing(control)[doomed]
        with Load(front, CLIENTS, 2) as load:
            os.kill(server.workers()[doomed], signal.SIGKILL)
            server.wait_for(f"slot {doomed} is ready .* reason: crash")
            before = len(load.failures)
            load.wait_for_more()
        # Each client asks one thing at a time, so it loses one at most; and when it is over, it is over.
        assert len(load.failures) <= CLIENTS + 2
        assert len(load.failures) == before
        assert sum(not answered(line) for line in lines) <= most
        settled(server, 2)


def executing(control: Control) -> list[int]:
    return [control.slot(slot)["in_flight"] for slot in range(2)]


def answered(line: Line) -> bool:
    """A proxy tells that we did not answer by a status of its own, or by its end."""
    try:
        return line.answer().status == 200
    except (EOFError, ConnectionResetError):
        return False
