"""Which launcher a command means, where there are several, none, a dead one, or somebody else's."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, Launch
from tests.whole.console import Console, ended
from tests.whole.reachable import ROOT, reachable

QUIET = ("--lifespan", "off", "--no-access-log")
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path / "run")


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A directory that others can enter: pytest's own are ours alone."""
    path = Path(tempfile.mkdtemp(prefix="reuseport-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_one_of_several_must_be_chosen(launch: Launch, console: Console, tmp_path: Path) -> None:
    pid_file, elsewhere = tmp_path / "a.pid", tmp_path / "b.sock"
    one = launch("plain:app", *QUIET, "--pid-file", str(pid_file), env=console.env).ready(1)
    two = launch("plain:app", *QUIET, env=console.env).ready(1)
    three = launch("plain:app", *QUIET, "--control", str(elsewhere)).ready(1)

    refused = console.run("status")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "choose one with --pid, --pid-file, --port or --control" in refused.stderr
    listed = {line.split()[0]: line.split() for line in refused.stderr.splitlines()[2:]}
    assert listed == {
        str(server.pid): [str(server.pid), server.url, "plain:app", f"{console.directory}/{server.pid}.sock"]
        for server in (one, two)
    }
    assert console.run("stop").returncode == 2
    assert one.popen.poll() is two.popen.poll() is None

    def named(*which: str, **env: str) -> int:
        found = console.run("status", *which, env=env)
        assert found.returncode == 0, found.stderr
        return int(found.stdout.partition("launcher pid ")[2].partition(",")[0])

    assert named("--pid-file", str(pid_file)) == one.pid
    assert named("--pid", str(two.pid)) == two.pid
    assert named("--port", str(two.port)) == two.pid
    assert named("--control", str(elsewhere)) == three.pid
    # Its socket is in no runtime directory, but the kernel knows what it listens at.
    assert named("--pid", str(three.pid)) == three.pid
    assert named(REUSEPORT_CONTROL=str(elsewhere)) == three.pid
    assert named("--port", str(one.port), REUSEPORT_CONTROL=str(elsewhere)) == one.pid

    both = console.run("status", "--pid", "1", "--port", "2")
    assert both.returncode == 2
    assert "--pid and --port each say which launcher is meant: give one of them" in both.stderr
    free = console.run("status", "--port", "1")
    assert free.returncode == 4
    assert "no launcher was found that serves port 1" in free.stderr


def test_one_with_a_runtime_directory_of_its_own_is_found_by_port_and_pid(
    launch: Launch, console: Console, tmp_path: Path
) -> None:
    """As systemd gives each service one, that only the service is told of."""
    own = tmp_path / "service"
    own.mkdir(mode=0o700)
    server = launch("plain:app", *QUIET, env={"RUNTIME_DIRECTORY": f"{own}:{tmp_path}"}).ready(1)
    none = console.run("status")
    assert none.returncode == 4
    assert f"pid {server.pid} at {own}/{server.pid}.sock" in none.stderr
    assert f"launcher pid {server.pid}," in console.does("status", "--port", str(server.port))
    assert f"launcher pid {server.pid}," in console.does("status", "--pid", str(server.pid))


def test_what_a_dead_launcher_left_behind_is_passed_over_until_the_next_start(
    launch: Launch, console: Console
) -> None:
    dead = launch("plain:app", *QUIET, env=console.env).ready(1)
    dead.signal(signal.SIGKILL)
    dead.wait()
    left = console.directory / f"{dead.pid}.sock"
    assert left.is_socket()
    none = console.run("status")
    assert none.returncode == 4
    assert f"no launcher was found in {console.directory}: does it run, as this user" in none.stderr
    for which in (("--pid", str(dead.pid)), ("--control", str(left))):
        assert console.run("reload", *which).returncode == 4
    assert left.is_socket()  # who only looks tidies nothing

    alive = launch("plain:app", *QUIET, env=console.env).ready(1)
    assert f"launcher pid {alive.pid}," in console.does("status")
    assert not left.exists()


def test_without_a_control_socket_there_is_nobody_to_talk_to(launch: Launch, console: Console) -> None:
    server = launch("plain:app", *QUIET, "--no-control", env=console.env).ready(1)
    found = console.run("status", "--pid", str(server.pid))
    assert found.returncode == 4
    assert f"process {server.pid} has no control socket that we may see" in found.stderr
    assert "without --no-control" in found.stderr


@pytest.mark.parametrize("answer", [b"", b"hello\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"])
def test_who_answers_otherwise_is_no_launcher(console: Console, tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(PATIENCE)
        asking = console.begin("status", "--control", str(path))
        accepted, _ = listener.accept()
        with accepted:
            accepted.recv(4096)
            accepted.sendall(answer)
        done = ended(asking)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"who listens at {path} does not" in done.stderr


def test_a_pid_file_must_be_one(console: Console, tmp_path: Path) -> None:
    missing = console.run("status", "--pid-file", str(tmp_path / "missing.pid"))
    assert missing.returncode == 4
    assert "No such file or directory; does reuseport run?" in missing.stderr
    (tmp_path / "other.pid").write_text("hello\n")
    other = console.run("status", "--pid-file", str(tmp_path / "other.pid"))
    assert other.returncode == 2
    assert "is no pid file: it does not hold a number" in other.stderr


def test_another_users_socket_is_named_as_such(launch: Launch, shared_path: Path) -> None:
    wrapper = reachable()
    (shared_path / "run").mkdir(mode=0o755)
    env = {"REUSEPORT_RUNTIME_DIR": str(shared_path / "run")}
    server = launch("plain:app", *QUIET, env=env).ready(1)

    def as_nobody(*arguments: str) -> subprocess.CompletedProcess[str]:
        become = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
        return subprocess.run(
            [*wrapper, *become, sys.executable, "-m", "reuseport", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, **env},
        )

    path = f"{shared_path}/run/{server.pid}.sock"
    for which in ((), ("--port", str(server.port)), ("--control", path)):
        denied = as_nobody("status", *which)
        assert denied.returncode == 4
        assert f"{path} is for user root only: act as that user" in denied.stderr

    (shared_path / "run").chmod(0o700)
    closed = as_nobody("status")
    assert closed.returncode == 4
    assert f"{shared_path}/run is for user root only: act as that user" in closed.stderr
