"""The generated unit, by systemd's own word, and at work under the real systemd."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reuseport.kernel import probe
from reuseport.kernel.probe import Level
from tests.conftest import PATIENCE
from tests.deploy.booted import APPLICATION, COMMAND, Booted, booted
from tests.whole.lines import wait_until
from tests.whole.reachable import ROOT

TOLERABLE = 3.0
"""Exposure, of 10, as systemd counts it."""


def generated(place: Path, *arguments: str) -> Path:
    """The directory with the files."""
    subprocess.run(
        [sys.executable, "-P", "-m", "reuseport", "generate", "systemd", *arguments, "--output", str(place)],
        check=True,
        cwd=ROOT,
        capture_output=True,
    )
    return place


def analyze(*arguments: str) -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no systemd-analyze (Debian: systemd)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("plain:app", "--workers", "4", "--bind", "0.0.0.0:8000"),
        ("plain:app", "--port", "443", "--user", "www-data", "--group", "www-data"),
        ("plain:app", "--uds", "/run/shop/app.sock", "--root-path", '/50% of $HOME "as is"; it\'s'),
    ],
)
def test_systemd_understands_every_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    place = generated(tmp_path, *arguments, "--name", "shop")
    # Without manual pages, which it would look up.
    assert analyze("verify", "--man=no", str(place / "shop.service"), str(place / "shop.socket")) == ""


@pytest.mark.parametrize("steered", [True, False])
def test_it_is_exposed_as_little_as_may_be(steered: bool, tmp_path: Path) -> None:
    place = generated(tmp_path, "plain:app", "--port", "8000", "--name", "shop")
    if not steered:
        (place / "shop.service.d/steering.conf").unlink()
    told = analyze("security", "--offline=true", "--no-pager", str(place / "shop.service"))
    found = re.search(r"Overall exposure level for shop.service: ([\d.]+)", told)
    assert found is not None
    assert float(found[1]) <= TOLERABLE


# ── at work ───────────────────────────────────────────────────────────────────────────────────────────────

# Where the service's output can be read; and this tree, if it lies below /tmp, is to be seen.
_TEST = f"""
[Service]
StandardOutput=append:/run/log
StandardError=append:/run/log
{f"BindReadOnlyPaths={ROOT}" if ROOT.is_relative_to("/tmp") else ""}
WatchdogSec=2
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Booted]:
    with booted(tmp_path) as made:
        yield made


@pytest.fixture
def port() -> int:
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        return int(asking.getsockname()[1])


def install(machine: Booted, port: int, *flags: str, more: str = "") -> None:
    """As the manual says it."""
    machine.write("/run/app/shop.py", APPLICATION)
    machine.inside("chmod", "-R", "a+rX", "/run/app")
    address = f"127.0.0.1:{port}"
    arguments = " ".join(["shop:app", "--bind", address, *flags, "--output", "/run/systemd/system"])
    machine.inside("sh", "-ec", f"cd /run/app && umask 022 && {COMMAND} generate systemd {arguments}")
    machine.write("/run/systemd/system/shop.service.d/test.conf", _TEST + more)
    machine.ctl("daemon-reload")


def ask(port: int, path: str = "/") -> dict[str, object]:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE)
    assert answer.status_code == 200
    told: dict[str, object] = answer.json()
    return told


def status_of(machine: Booted, pid: str) -> dict[str, str]:
    """/proc/PID/status, of a pid in there."""
    lines = machine.inside("cat", f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_life_start_reload_hang_stop(machine: Booted, port: int) -> None:
    install(machine, port, "--workers", "2", "--min-ready", "2")
    machine.ctl("start", "shop")
    assert machine.show("shop", "StatusText") == "2 of 2 workers are ready, generation 1"
    first = ask(port)

    # Hardened: nobody, no powers, and the launcher keeps the one it needs.
    launcher = machine.show("shop", "MainPID")
    worker = status_of(machine, str(first["pid"]))
    assert worker["Uid"].split()[0] not in ("0", "65534")
    assert (worker["CapEff"], worker["NoNewPrivs"], worker["Seccomp"]) == ("0" * 16, "1", "2")
    assert int(worker["CapAmb"], 16) == 0
    if probe.climb().level is Level.STEERED:
        machine.wait_for("balance: least-loaded")
        assert int(status_of(machine, launcher)["CapEff"], 16) == 1 << 39  # CAP_BPF

    # A reload of the operator's, one that fails, and one of somebody else's.
    machine.ctl("reload", "shop")
    assert machine.show("shop", "StatusText") == "2 of 2 workers are ready, generation 2"
    machine.write("/run/app/shop.py", "raise RuntimeError('sold out')")
    assert machine.ctl("reload", "shop", ok=False).startswith("1: ")
    assert "; the last reload was aborted: worker in slot " in machine.show("shop", "StatusText")
    assert machine.show("shop", "ActiveState") == "active"
    machine.write("/run/app/shop.py", APPLICATION)
    machine.inside("kill", "-HUP", launcher)
    wait_until(
        lambda: "generation 4" in machine.show("shop", "StatusText"), lambda: machine.ctl("status", "shop")
    )
    machine.wait_until("ActiveState", "active", "shop")
    assert machine.show("shop", "MainPID") == launcher
    assert machine.show("shop", "NRestarts") == "0"

    # A launcher that does not turn is killed, and there is another.
    machine.inside("kill", "-STOP", launcher)
    machine.wait_until("NRestarts", "1", "shop")
    machine.wait_until("ActiveState", "active", "shop")
    assert machine.show("shop", "MainPID") not in ("0", launcher)
    ask(port)

    machine.ctl("stop", "shop")
    assert machine.show("shop", "Result") == "success"
    assert machine.show("shop", "ExecMainStatus") == "0"
    with pytest.raises(httpx.ConnectError):
        ask(port)
    assert "RuntimeError: sold out" in machine.log()
    assert "defect" not in machine.log()


def test_what_is_wrong_with_the_unit_is_not_tried_again(machine: Booted, port: int) -> None:
    install(machine, port, more="Environment=REUSEPORT_WORKERS=x\n")
    assert "failed" in machine.ctl("start", "shop", ok=False)
    assert machine.show("shop", "ActiveState") == "failed"
    assert machine.show("shop", "ExecMainStatus") == "2"
    assert machine.show("shop", "NRestarts") == "0"


def test_out_of_memory_costs_a_worker_and_not_the_service(machine: Booted, port: int) -> None:
    install(machine, port, "--workers", "2", more="MemoryMax=200M\nMemorySwapMax=0\n")
    eat = APPLICATION.replace(
        'case "/die":', 'case "/eat":\n            b"x" * (400 << 20)\n        case "/die":'
    )
    machine.write("/run/app/shop.py", eat)
    machine.ctl("start", "shop")
    launcher = machine.show("shop", "MainPID")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(port, "/eat")
    machine.wait_for("was killed by SIGKILL")
    ask(port)
    assert machine.show("shop", "MainPID") == launcher
    assert machine.show("shop", "ActiveState") == "active"
    machine.ctl("stop", "shop")
    assert "out of memory" in machine.log()


def test_socket_activation_and_a_restart_that_nobody_sees(machine: Booted, port: int) -> None:
    install(machine, port, "--workers", "2", "--graceful-timeout", "5s")
    # Without steering, and so in a user namespace.
    machine.inside("rm", "/run/systemd/system/shop.service.d/steering.conf")
    machine.ctl("daemon-reload")
    machine.ctl("start", "shop.socket")
    assert machine.show("shop", "ActiveState") == "inactive"
    # The first client starts it.
    assert ask(port)["slot"] in ("0", "1")
    machine.wait_for(f"passes 2 listeners of 127.0.0.1:{port}: one for each slot")
    machine.wait_for("no more than 2 slots: the service manager's listeners belong to root")
    with clients(port) as failures:
        machine.ctl("restart", "shop")
        machine.ctl("reload", "shop")
        # A crash of everything.
        machine.inside("systemctl", "kill", "--kill-who=all", "-s", "KILL", "shop")
        machine.wait_until("NRestarts", "1", "shop")
        machine.wait_until("ActiveState", "active", "shop")
    # Nobody was refused; what a killed process was answering is lost, one for each client at most.
    assert not [failure for failure in failures if failure.startswith("Connect")]
    assert len(failures) <= CLIENTS, failures
    machine.ctl("stop", "shop.socket", "shop")
    assert machine.show("shop", "Result") == "success"
    with pytest.raises(httpx.ConnectError):
        ask(port)


CLIENTS = 4


@contextlib.contextmanager
def clients(port: int) -> Iterator[list[str]]:
    """Ask all the time, each over a new connection; what was not answered."""
    failures: list[str] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            try:
                ask(port)
            except httpx.HTTPError as error:
                failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)
