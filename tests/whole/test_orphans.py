"""The launcher is killed, or is PID 1: no process is left that nobody looks after."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pytest

from reuseport.worker.__main__ import LAST_GRACE
from tests.conftest import PATIENCE, Launch, Launched, children, zombies
from tests.whole.lines import wait_until

NAMESPACE = ["unshare", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
NAMESPACE += ["--pid", "--fork", "--kill-child", "--mount-proc"]


def kill_launcher(server: Launched) -> None:
    """SIGKILL; not `wait`, which also waits for the workers to let go of the output."""
    server.signal(signal.SIGKILL)
    server.popen.wait(PATIENCE)


def wait_until_gone(pidfds: list[int], patience: float = PATIENCE) -> None:
    """All of them; closes them. A pidfd is readable once its process has ended (pidfd_open(2))."""
    deadline = time.monotonic() + patience
    for pidfd in pidfds:
        readable, _, _ = select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
        os.close(pidfd)
        assert readable


def all_of(server: Launched) -> list[int]:
    """A pidfd of each of its workers and molds."""
    pids = [*server.workers().values(), *(mold.pid for mold in server.molds())]
    return [os.pidfd_open(pid) for pid in pids]


def ask(server: Launched, path: str) -> http.client.HTTPConnection:
    """A request that a worker has begun to answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", path)
    server.wait_for(rf"{path.partition('?')[0]} begins in slot \d")
    return connection


def test_idle_workers_end_with_the_launcher(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    pidfds = all_of(server)
    kill_launcher(server)
    wait_until_gone(pidfds)
    server.wait()
    assert server.count("the launcher is gone: draining") == 2
    assert server.count("lifespan shutdown in slot") == 2


def test_request_in_flight_is_answered_without_the_launcher(launch: Launch, tmp_path: Path) -> None:
    release = tmp_path / "release"
    server = launch("diary:app", "--workers", "2").ready(2)
    pids = server.workers()
    pidfds = all_of(server)
    connection = ask(server, f"/hold?until={release}")
    kill_launcher(server)
    for _ in pids:
        server.wait_for("the launcher is gone: draining")
    release.touch()
    answer = connection.getresponse()
    assert answer.status == 200
    assert json.load(answer)["pid"] in pids.values()
    connection.close()
    wait_until_gone(pidfds)


def test_worker_that_still_imports_dies_with_the_launcher(launch: Launch, tmp_path: Path) -> None:
    slow = "import sys, time\nsys.stderr.write('importing\\n')\ntime.sleep(600)\n"
    (tmp_path / "slow.py").write_text(slow)
    server = launch("slow:app", "--app-dir", str(tmp_path), "--workers", "2")
    for _ in range(2):
        server.wait_for("importing")
    pidfds = all_of(server)
    kill_launcher(server)
    wait_until_gone(pidfds)


def test_blocked_worker_ends_itself_in_time(launch: Launch) -> None:
    server = launch("diary:app", "--workers", "2", "--graceful-timeout", "1s").ready(2)
    pidfds = all_of(server)
    connection = ask(server, "/block?s=600")
    kill_launcher(server)
    wait_until_gone(pidfds, patience=1 + LAST_GRACE + PATIENCE)
    connection.close()
    server.wait_for(r"Timeout \(")
    server.wait_for("in sit_on_the_loop")


# ── as PID 1 ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def namespace() -> list[str]:
    """A command that runs another as PID 1; skips where the host allows nobody a PID namespace."""
    tried = subprocess.run([*NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no PID namespace here: {tried.stderr.strip()}")
    return NAMESPACE


def inner_launcher(server: Launched) -> psutil.Process:
    """The launcher as this namespace sees it: the only child of unshare."""
    (launcher,) = psutil.Process(server.pid).children()
    return launcher


def adopted_by(launcher: psutil.Process) -> psutil.Process:
    """The sleep that /stray left behind, once its parent is gone and it is what it is to be."""

    def strays() -> list[psutil.Process]:
        return [child for child in children(launcher.pid) if child.name() == "sleep"]

    wait_until(lambda: len(strays()) == 1)
    return strays()[0]


def test_as_pid_1_it_reaps_strays_and_stops(launch: Launch, namespace: list[str]) -> None:
    server = launch("diary:app", "--workers", "2", wrapper=namespace).ready(2)
    assert server.count("pid 1 serves diary:app") == 1
    launcher = inner_launcher(server)
    assert httpx.get(f"{server.url}/stray", timeout=PATIENCE).status_code == 200
    stray = adopted_by(launcher)
    stray.kill()
    # Its pid is free again only when its parent has reaped it: until then psutil finds the zombie.
    wait_until_reaped(stray)
    assert len(children(launcher.pid)) == 2
    launcher.send_signal(signal.SIGTERM)
    assert server.wait() == 0
    assert server.count("lifespan shutdown in slot") == 2


def test_as_pid_1_it_tells_strays_from_workers(launch: Launch, namespace: list[str]) -> None:
    server = launch("diary:app", "--workers", "2", wrapper=namespace).ready(2)
    launcher = inner_launcher(server)
    workers = children(launcher.pid)
    assert httpx.get(f"{server.url}/stray", timeout=PATIENCE).status_code == 200
    stray = adopted_by(launcher)
    # All die before the launcher looks: whatever the kernel offers first, each has its own kind of end.
    launcher.suspend()
    for process in (workers[0], stray, workers[1]):
        process.kill()
    launcher.resume()
    wait_until_reaped(stray)
    for slot in sorted(re_ready(server)):
        assert server.count(rf"worker in slot {slot} \(pid \d+\) was killed by SIGKILL") == 1
    assert not zombies(launcher.pid)
    launcher.send_signal(signal.SIGTERM)
    assert server.wait() == 0


def re_ready(server: Launched) -> set[str]:
    """The two slots that are ready again, in whatever order."""
    return {server.wait_for(r"slot (\d) is ready .*reason: crash")[1] for _ in range(2)}


def wait_until_reaped(process: psutil.Process) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.is_running():
        assert time.monotonic() < deadline, process
