"""The doctor in surroundings that are really so: namespaces, limits, users, a stranger on the port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import APPS, PATIENCE, Launch
from tests.whole.reachable import reachable

POOLED = """
from sqlalchemy import create_engine

engine = create_engine("sqlite:///secret.db", pool_size=3, max_overflow=4)

async def app(scope, receive, send): ...
"""


AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all")


def asked(
    *arguments: str, wrapper: tuple[str, ...] = (), cwd: Path | None = None
) -> tuple[int, dict[str, Any]]:
    """Exit status, and the lines by topic."""
    done = subprocess.run(
        [*wrapper, sys.executable, "-m", "reuseport", "doctor", "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=cwd,
    )
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == done.returncode
    return done.returncode, {line["topic"]: line for line in told["lines"]}


@pytest.fixture
def port() -> int:
    """One that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def test_a_stranger_on_the_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        code, lines = asked("--port", str(stranger.getsockname()[1]))
    assert code == 2
    assert lines["port"]["grade"] == "error"
    assert f"pid {os.getpid()} (" in lines["port"]["text"]


def test_a_launcher_of_ours_on_the_port_is_no_stranger(launch: Launch) -> None:
    server = launch("plain:app").ready(1)
    code, lines = asked("--port", str(server.port))
    assert lines["port"]["grade"] == "note", lines["port"]
    assert lines["port"]["type"] == f"reuseport reload --pid {server.pid}"
    assert code != 2


def test_few_descriptors_are_too_few(port: int) -> None:
    code, lines = asked("--port", str(port), wrapper=("prlimit", "--nofile=512:512"))
    assert (code, lines["open files"]["grade"]) == (1, "warning")
    code, lines = asked("--port", str(port), "--workers", "80", wrapper=("prlimit", "--nofile=512:512"))
    assert (code, lines["open files"]["grade"]) == (2, "error")


def test_a_short_queue_of_the_network_namespace_is_seen() -> None:
    script = 'echo 100 > /proc/sys/net/core/somaxconn && ip link set lo up && exec "$@"'
    code, lines = asked(wrapper=("unshare", "--net", "sh", "-c", script, "sh"))
    assert (code, lines["accept queue"]["type"]) == (1, "sysctl -w net.core.somaxconn=2048")


def test_a_user_namespace_is_seen_and_no_capability_counts_there(port: int) -> None:
    _, lines = asked("--port", str(port), wrapper=("unshare", "--user", "--map-root-user"))
    assert lines["user namespace"]["grade"] == "note"
    assert lines["steering"]["grade"] == "note"


def test_who_has_no_capability_is_told_how_to_get_one(port: int) -> None:
    wrapper = (*reachable(), *AS_NOBODY)
    _, lines = asked("--port", str(port), wrapper=wrapper, cwd=Path("/"))
    assert lines["capability"]["grade"] == "note"
    assert "CAP_BPF" in lines["steering"]["type"]


def test_cpus_by_affinity(port: int) -> None:
    _, lines = asked("--port", str(port), "--workers", "3", wrapper=("taskset", "-c", "0"))
    assert lines["CPUs"]["text"] == "3 workers share 1 by affinity and cgroup quota"


def test_an_applications_pools_are_multiplied_by_its_workers(tmp_path: Path, port: int) -> None:
    (tmp_path / "pooled.py").write_text(POOLED)
    _, lines = asked("pooled:app", "--workers", "2", "--port", str(port), cwd=tmp_path)
    assert "QueuePool 7: 2 workers open up to 14 connections, up to 28" in lines["database pools"]["text"]
    assert not (tmp_path / "secret.db").exists(), "nothing was opened"


def test_an_application_that_does_not_import_says_so_and_the_rest_is_told(port: int, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    code, lines = asked("broken:app", "--port", str(port), cwd=tmp_path)
    assert code != 2
    assert lines["database pools"]["grade"] == "could not tell"
    assert (
        "ZeroDivisionError: division by zero; reuseport check broken:app" in lines["database pools"]["text"]
    )
    assert lines["clock"]["text"]


def test_an_application_that_looks_is_not_imported_by_the_doctor_itself(port: int, tmp_path: Path) -> None:
    (tmp_path / "telling.py").write_text(
        "import os, sys\nprint('imported by', os.getpid(), file=sys.stderr)\nasync def app(*_): ...\n"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "reuseport", "doctor", "telling:app", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as doctor:
        said, errors = doctor.communicate(timeout=PATIENCE)
    assert "imported by" in errors
    assert f"imported by {doctor.pid}" not in errors
    assert "none that the application has made at import" in said


def test_settings_that_are_wrong_are_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reuseport", "doctor", "--http2"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, "Error: --http2 needs --http zttp, not --http auto\n")


def test_a_start_that_the_host_refuses_mentions_the_doctor(tmp_path: Path) -> None:
    wrapper = (*reachable(), *AS_NOBODY)
    command = [sys.executable, "-m", "reuseport", "plain:app", "--port", "0", "--balance", "least-loaded"]
    done = subprocess.run(
        [*wrapper, *command, "--no-control", "--app-dir", str(APPS)],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    assert "--balance least-loaded cannot be had" in done.stderr
    assert "reuseport doctor" in done.stderr
