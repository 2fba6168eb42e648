"""Processes that the application forks: they have nothing that is the worker's, and their own end."""

from __future__ import annotations

import signal

import pytest

from tests.conftest import Launch, Launched
from tests.whole.lines import Line

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def unharmed(server: Launched, line: Line, worker: int) -> None:
    """The same worker answers, on the connection that was open meanwhile and on new ones, and stops well."""
    assert line.ask("/").who["pid"] == worker
    for _ in range(20):
        with Line(server.port) as another:
            assert another.ask("/").who["pid"] == worker
    assert server.stop() == 0
    for sign in ("Traceback", "will be recycled", "did not end in time", "exited with"):
        assert server.count(sign) == 0, server.output


@LOOPS
@pytest.mark.parametrize("way", ["fork", "forkserver", "spawn", "os.fork", "preexec"])
def test_a_child_has_nothing_of_ours_and_its_end_is_its_own(launch: Launch, loop: str, way: str) -> None:
    server = launch("parent:app", "--loop", loop, "--graceful-timeout", "10m").ready(1)
    with Line(server.port) as line:
        worker = line.ask("/").who["pid"]
        seen = line.ask(f"/{way}").who
        assert seen["status"] == -signal.SIGTERM
        assert seen["wakeup"] == -1
        assert seen["handlers"].pop("SIGINT") == "default_int_handler"
        assert set(seen["handlers"].values()) == {"SIG_DFL"}
        ports = {address[1] for family, address in seen["sockets"] if family == "AF_INET"}
        assert server.port not in ports
        unharmed(server, line, worker)


@LOOPS
@pytest.mark.parametrize("way", ["exits", "returns"])
def test_a_child_that_comes_back_into_our_frames_is_ended(launch: Launch, loop: str, way: str) -> None:
    server = launch("parent:app", "--loop", loop, "--graceful-timeout", "10m").ready(1)
    with Line(server.port) as line:
        worker = line.ask("/").who["pid"]
        assert line.ask(f"/{way}").who["status"] == 1  # uvicorn holds SystemExit back
        assert line.ask("/").who["pid"] == worker
    assert server.stop() == 0
