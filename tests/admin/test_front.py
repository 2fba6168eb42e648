"""Who serves at the doors: when it is loaded, what that leaves to be imported, and what if it cannot be."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.admin.asking import Control, admin_port
from tests.conftest import APPS, PATIENCE, Launch, Launched
from tests.whole.clients import client, environment
from tests.whole.console import Console
from tests.whole.lines import wait_until
from tests.whole.modules import Shop

AUDITED = {"PYTHONPATH": str(APPS / "audited")}
COULD_NOT = "control and admin cannot be served"


def command(server: Launched, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reuseport", *words, "--control", str(Control(server).path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        timeout=PATIENCE,
    )


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """Where the launcher writes down what it imports."""
    return tmp_path / "audit"


def test_it_is_loaded_when_all_are_ready_though_nobody_has_come(launch: Launch, audit: Path) -> None:
    server = launch("plain:app", "--workers", "2", env={**AUDITED, "TEST_AUDIT": str(audit)}).ready(2)
    wait_until(lambda: "reuseport.admin.visitor" in audit.read_text().split())
    assert server.stop() == 0


def test_a_visitor_need_not_wait_until_all_are_ready(launch: Launch, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    gate = shop.hold(0)
    server = launch(*shop.arguments, "--workers", "1")
    gate.reached()
    assert Control(server).status()["ready"] == 0
    gate.open()
    server.ready(1)


def test_a_launcher_without_doors_loads_nothing_for_them(launch: Launch, audit: Path) -> None:
    server = launch("plain:app", "--no-control", env={**AUDITED, "TEST_AUDIT": str(audit)}).ready(1)
    assert server.stop() == 0
    assert not {"starlette", "uvicorn", "prometheus_client"} & set(audit.read_text().split())


def test_once_visited_a_launcher_imports_nothing_more(launch: Launch, audit: Path) -> None:
    """What an upgrade puts on the disk is nothing to it: workers that it starts are of the new version."""
    server = launch(
        *("plain:app", "--workers", "2", "--admin", "127.0.0.1:0"), env={**AUDITED, "TEST_AUDIT": str(audit)}
    ).ready(2)
    control = Control(server)
    assert control.status()["ready"] == 2
    before = audit.read_text()
    base = f"http://127.0.0.1:{admin_port(server)}"
    with client() as asking:
        for path in ("/", "/metrics", "/livez", "/readyz", "/api/v1/events", "/page/none", "/api/v1/none"):
            asking.get(f"{base}{path}")
        asking.get(f"{base}/metrics", headers={"accept": "application/openmetrics-text"})
        asking.post(f"{base}/api/v1/reload")
        with asking.stream("GET", f"{base}/api/v1/stream") as stream:
            next(stream.iter_lines())
    for words in (
        *(["status"], ["status", "--stacks", "0"], ["status", "--events"], ["reload", "--wait"]),
        *(["scale", "3", "--wait"], ["scale", "2", "--wait"], ["drain", "1", "--wait"]),
        ["restart", "1", "--wait"],
    ):
        done = command(server, *words)
        assert done.returncode == 0 or words == ["status"], (words, done.stdout, done.stderr)
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
        server.signal(number)
    server.wait_for("SIGUSR2 means nothing here")
    victim = server.workers()[0]
    psutil.Process(victim).kill()
    server.wait_for(rf"pid {victim}\) was killed by SIGKILL")
    server.wait_for("slot 0 is ready")
    assert server.stop() == 0
    assert audit.read_text().removeprefix(before).split() == []


def test_what_cannot_be_loaded_is_told_and_tried_again(launch: Launch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("starlette.routing")
    server = launch(
        *("plain:app", "--workers", "1", "--admin", "127.0.0.1:0"),
        env={**AUDITED, "TEST_BROKEN": str(broken)},
    ).ready(1)
    server.wait_for(COULD_NOT)
    control = Control(server)
    for _ in range(3):
        status, body = control.ask("POST", "/api/v1/scale", {"workers": 2})
        assert status == 503
        assert json.loads(body)["error"] == f"{COULD_NOT}: ImportError: starlette.routing is half installed"
    with client() as asking:
        answer = asking.get(f"http://127.0.0.1:{admin_port(server)}/metrics")
    # What went wrong in us is not every visitor's to read.
    assert (answer.status_code, answer.json()) == (503, {"error": f"{COULD_NOT}: the log says why"})
    done = command(server, "status")
    assert done.returncode == 1
    assert "starlette.routing is half installed" in done.stderr
    assert server.count(COULD_NOT) == 1
    broken.unlink()
    wait_until(lambda: control.ask("GET", "/api/v1/status")[0] == 200)
    assert control.status()["ready"] == 1
    assert server.stop() == 0


def test_who_only_knocks_while_nobody_can_serve_is_let_go(launch: Launch, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("starlette.routing")
    server = launch("plain:app", "--workers", "1", env={**AUDITED, "TEST_BROKEN": str(broken)}).ready(1)
    server.wait_for(COULD_NOT)
    path = str(Control(server).path)
    launcher = psutil.Process(server.pid)
    before = launcher.num_fds()
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(60)]
    for visitor in crowd:
        visitor.settimeout(PATIENCE)
        visitor.connect(path)
    crowd[0].sendall(b"GET / HTTP/1.1\r\n")
    for visitor in crowd[1:30]:
        visitor.close()
    # The others say nothing, or not all of it, and are cut off.
    for visitor in (crowd[0], *crowd[30:]):
        assert visitor.recv(1) == b""
        visitor.close()
    wait_until(lambda: launcher.num_fds() <= before, lambda: f"{before} → {launcher.num_fds()}")
    broken.unlink()
    wait_until(lambda: Control(server).ask("GET", "/api/v1/status")[0] == 200)
    assert server.stop() == 0


def test_a_bad_moment_does_not_close_the_doors(launch: Launch, tmp_path: Path) -> None:
    """No descriptor is free: neither to read a module from, nor to say so to whoever comes."""
    shop = Shop(tmp_path)
    gate = shop.hold(0)
    server = launch(*shop.arguments, "--workers", "1", "--admin", "127.0.0.1:0")
    gate.reached()
    control = Control(server)
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    gate.open()
    server.ready(1).wait_for(COULD_NOT)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(control.path))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
        wait_until(lambda: control.ask("GET", "/api/v1/status")[0] == 200)
    assert server.stop() == 0


def test_one_that_is_not_well_is_in_nobodys_way(launch: Launch, tmp_path: Path) -> None:
    console = Console(tmp_path / "run")
    (tmp_path / "broken").write_text("starlette.routing")
    broken = {**AUDITED, "TEST_BROKEN": str(tmp_path / "broken"), **console.env}
    ill = launch("plain:app", "--workers", "1", env=broken).ready(1)
    ill.wait_for(COULD_NOT)
    for how in ((), ("--pid", str(ill.pid))):
        refused = console.run("status", *how)
        assert (refused.returncode, "half installed" in refused.stderr) == (1, True), refused.stderr
    well = launch("plain:app", "--workers", "1", env=console.env).ready(1)
    assert f"launcher pid {well.pid}," in console.does("status", "--port", str(well.port))
    several = console.run("status")
    assert (several.returncode, "half installed" in several.stderr) == (2, True), several.stderr
    assert (ill.stop(), well.stop()) == (0, 0)
