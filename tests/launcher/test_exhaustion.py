"""A launcher without free descriptors: what cannot be spawned is tried again, and who serves goes on."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.conftest import Launch, Launched


def starve(server: Launched, spare: int = 0) -> tuple[int, int]:
    """Leave the launcher `spare` descriptors; returns the limits it had."""
    highest = max(int(entry.name) for entry in Path(f"/proc/{server.pid}/fd").iterdir())
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (highest + 1 + spare, limits[1]))
    return limits


def feed(server: Launched, limits: tuple[int, int]) -> None:
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("spare", [0, 2, 4, 5, 6])
def test_a_worker_that_cannot_be_spawned_is_tried_again(launch: Launch, spare: int) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    limits = starve(server, spare)
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 1 is tried again|slot 1 is ready")
    assert httpx.get(server.url).status_code == 200
    feed(server, limits)
    if server.count("slot 1 is ready") == 0:
        server.wait_for("slot 1 is ready")
    assert server.stop() == 0


def test_a_slot_whose_listeners_do_not_fit_is_tried_again(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", *["--bind=127.0.0.1:0"] * 4).ready(1)
    limits = starve(server, 4)
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 1 could not be spawned: no socket for 127.0.0.1:.* raise ulimit -n")
    assert httpx.get(server.url).status_code == 200
    feed(server, limits)
    server.wait_for("slot 1 is ready")
    assert server.stop() == 0


GIVEN_UP = """
import os, resource
from reuseport.launcher import ports
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.launcher import Launcher
from reuseport.launcher.deciding.slots import Policy
from reuseport.launcher.balance import chosen
from reuseport.logs import Relay
from reuseport.settings.table import Settings

held = ports.held(["127.0.0.1:0"], False)
with held as found, chosen(Settings(), 2, 8, 1) as balance:
    launcher = Launcher(Settings(), Policy(2, 8), found, balance, Relay())
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    launcher._wake_at = launcher._loop.time()
    # Both in one turn of the loop, as when two signals have come: nothing is known of the failure yet.
    launcher.feed(ev.Begin())
    launcher.feed(getattr(ev, {request!r})())
    launcher._bare_loop.run_forever()
    assert launcher._broken is None, launcher._broken
    assert launcher.exit_code == {code}
    launcher._bare_loop.close()
"""


@pytest.mark.parametrize(("request_", "code"), [("StopRequested", 0), ("QuitRequested", 1)])
def test_a_worker_may_be_given_up_before_it_is_known_that_there_is_none(request_: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GIVEN_UP.format(request=request_, code=code)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_stop_while_nothing_can_be_spawned(launch: Launch, number: signal.Signals) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    starve(server)
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 1 is tried again")
    server.signal(number)
    assert server.wait() == (1 if number == signal.SIGQUIT else 0)
    assert not psutil.pid_exists(server.pid)
