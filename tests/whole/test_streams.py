"""Started with standard streams closed, or as daemons are: serves, logs where it can, stops."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.whole.clients import kept_port
from tests.whole.test_logs import await_text
from tests.whole.traffic import ask

CLOSED = {
    "stdin": [0],
    "stdout": [1],
    "stderr": [2],
    "stdin and stderr": [0, 2],
    "all": [0, 1, 2],
}


def without(numbers: list[int]) -> list[str]:
    """A wrapper that starts a command with these closed."""
    return ["sh", "-c", f'exec "$@" {" ".join(f"{number}>&-" for number in numbers)}', "sh"]


def devices(pid: int, numbers: list[int]) -> set[int]:
    return {Path(f"/proc/{pid}/fd/{number}").stat().st_rdev for number in numbers}


@pytest.mark.parametrize("numbers", CLOSED.values(), ids=CLOSED)
def test_what_is_closed_is_the_null_device(launch: Launch, tmp_path: Path, numbers: list[int]) -> None:
    log, access = tmp_path / "log", tmp_path / "access"
    files = ("--log-file", str(log), "--access-log-file", str(access))
    with kept_port() as port:
        # `plain` writes to stderr when it stops.
        arguments = ("plain:app", "--workers", "2", "--port", str(port), "--join", *files)
        server = launch(*arguments, wrapper=without(numbers))
        await_text(log, "all 2 workers are ready")
        for pid in (server.pid, *server.workers().values()):
            assert devices(pid, numbers) == {os.makedev(1, 3)}
        pid = json.loads(ask(port))["pid"]
        # A killed worker takes along the lines that it has not written yet.
        await_text(access, '"GET / HTTP/1.1" 200 OK')
        os.kill(pid, signal.SIGKILL)
        await_text(log, "reason: crash")
        server.signal(signal.SIGHUP)
        await_text(log, "generation 2 serves in every slot")
        assert server.stop() == 0
    assert "Traceback" not in server.output + log.read_text()


def test_what_is_open_is_written_to(launch: Launch) -> None:
    server = launch("plain:app", wrapper=without([0, 1])).ready(1)
    ask(server.port)
    assert server.stop() == 0
    assert server.count("stopped, exit code 0") == 1
    assert not server.count("GET /")


@pytest.mark.parametrize("command", [(), ("check",)], ids=["serve", "check"])
def test_the_status_tells_of_a_failed_start_when_nothing_else_can(
    launch: Launch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n", encoding="ascii")
    arguments = (*command, "broken:app", "--workers", "1", "--app-dir", str(tmp_path))
    assert launch(*arguments, wrapper=without([0, 1, 2])).wait() == 3


def test_where_there_is_no_null_device_either(launch: Launch, tmp_path: Path) -> None:
    """A root directory without devices: nothing that is opened later gets the number."""
    if os.geteuid() != 0:
        pytest.skip("only root can hide /dev")
    log = tmp_path / "log"
    hidden = ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs none /dev; exec "$@" 0<&- 1>&- 2>&-', "sh"]
    with kept_port() as port:
        address = ("--port", str(port), "--join", "--log-file", str(log))
        server = launch("plain:app", "--workers", "1", *address, wrapper=hidden)
        await_text(log, "all 1 workers are ready")
        for number in range(3):
            assert stat.S_ISREG(Path(f"/proc/{server.pid}/fd/{number}").stat().st_mode)
        assert ask(port)
        assert server.stop() == 0


def test_by_nohup(launch: Launch) -> None:
    """In a session of its own, as every server of these tests is: without a terminal."""
    server = launch("plain:app", "--workers", "2", wrapper=["nohup"]).ready(2)
    assert ask(server.port)
    assert server.stop() == 0
    assert server.count("stopped, exit code 0") == 1
