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


@pytest.mark.parametrize("made", ["a link", "for everybody"])
def test_where_others_can_put_a_socket_nobody_is_asked(console: Console, tmp_path: Path, made: str) -> None:
    """/tmp/reuseport-0 -> /tmp, made by anybody before there is one: /tmp is root's, and everybody's."""
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o777 if made == "for everybody" else 0o700)
    (tmp_path / "link").symlink_to(place)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / f"{os.getpid()}.sock"))
        listener.listen()
        listener.setblocking(False)
        named = tmp_path / "link" if made == "a link" else place
        none = console.run("stop", env={"REUSEPORT_RUNTIME_DIR": str(named)})
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert none.returncode == 4


def test_a_fifo_for_a_pid_file_is_not_waited_for(console: Console, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pid")
    done = console.run("status", "--pid-file", str(tmp_path / "pid"))
    assert done.returncode == 2
    assert "is no pid file" in done.stderr


def test_names_that_others_give_to_sockets_hide_nobody(launch: Launch, console: Console) -> None:
    server = launch("plain:app", *QUIET, env=console.env).ready(1)
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(b"\0\n0: 2 0 zzz 1 zz x /x %d" % os.getpid())
        strange.listen()
        assert f"launcher pid {server.pid}," in console.does("status", "--port", str(server.port))
        assert console.run("status", env={"REUSEPORT_RUNTIME_DIR": "/nowhere"}).returncode == 4


PRETENDER = """
import json, os, socket, sys
answer = json.dumps({"addresses": [f"http://127.0.0.1:{sys.argv[2]}"], "pid": os.getpid(), "actions": True})
head = f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(answer)}\\r\\n\\r\\n"
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"{sys.argv[3]}/{os.getpid()}.sock")
os.chmod(f"{sys.argv[3]}/{os.getpid()}.sock", 0o777)
listener.listen()
print("listens", flush=True)
while True:
    client, _ = listener.accept()
    print("asked", flush=True)
    client.recv(65536)
    client.sendall((head + answer).encode())
    client.close()
"""


def test_who_only_looks_like_a_launcher_of_another_user_is_not_asked(
    launch: Launch, console: Console, shared_path: Path
) -> None:
    """A program that is called as ours, and says that it serves the port."""
    wrapper = reachable()
    become = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    shared_path.chmod(0o777)
    server = launch("plain:app", *QUIET, env=console.env).ready(1)
    deaf = launch("plain:app", *QUIET, "--no-control").ready(1)
    pretenders = [
        subprocess.Popen(
            [*wrapper, *become, sys.executable, "-c", PRETENDER, "reuseport", str(port), str(shared_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        for port in (server.port, deaf.port)
    ]
    try:
        assert all(each.stdout and each.stdout.readline() == "listens\n" for each in pretenders)
        assert f"launcher pid {server.pid}," in console.does("status", "--port", str(server.port))
        none = console.run("stop", "--port", str(deaf.port))
        assert none.returncode == 4, none.stdout
    finally:
        for each in pretenders:
            each.kill()
    assert [each.communicate()[0] for each in pretenders] == ["", ""]


def test_another_users_launcher_is_found_by_port(launch: Launch, console: Console, shared_path: Path) -> None:
    """By root, as a unit with User= would be: it holds the port."""
    shared_path.chmod(0o777)
    become = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    server = launch(
        "plain:app",
        *QUIET,
        wrapper=[*reachable(), *become],
        cwd=ROOT,
        env={"RUNTIME_DIRECTORY": str(shared_path / "own")},
    )
    server.ready(1)
    assert f"launcher pid {server.pid}," in console.does("status", "--port", str(server.port))


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
