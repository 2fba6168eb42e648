"""The doors: where they are, who may open them, what is refused before anything is started."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
from pathlib import Path

import psutil
import pytest

from reuseport import runtime
from reuseport.admin.doors import read_token
from reuseport.errors import ConfigurationError
from tests.admin.visits import Served, Visit, admin_of, announced, request, serve
from tests.conftest import Launch, Launched
from tests.whole.lines import wait_until

NOBODY = 65534
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")


def control_of(server: Launched) -> str:
    found = re.search(r"control at unix:(.+)$", announced(server, "control at unix"))
    assert found is not None
    return found[1]


def alive(place: str | tuple[str, int]) -> bool:
    with Visit(place) as visit:
        visit.send(request("/livez"))
        return visit.answer().status == 200


def refused(server: Launched, *words: str) -> None:
    """Exit 2, a sentence, and nothing was started."""
    assert server.wait() == 2
    assert all(word in server.output for word in words), server.output
    assert server.count("Started server process|Traceback") == 0


# ── the control socket ────────────────────────────────────────────────────────────────────────────────


def test_in_the_runtime_directory_named_by_pid(launch: Launch, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    server = launch(
        "plain:app", env={"REUSEPORT_RUNTIME_DIR": str(directory), "RUNTIME_DIRECTORY": "/nowhere"}
    )
    path = Path(control_of(server))
    assert path == directory / f"{server.pid}.sock"
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(directory.lstat().st_mode) == 0o700
    assert alive(str(path))
    server.ready(1)
    assert server.stop() == 0
    assert not path.exists()


def test_its_mode_is_never_wider(launch: Launch, tmp_path: Path) -> None:
    """The umask in force, and not a chmod that follows: strace would show, and a umask of 0 does."""
    server = launch(
        "plain:app", "--control", str(tmp_path / "c"), wrapper=["sh", "-c", 'umask 0; exec "$@"', "sh"]
    )
    control_of(server)
    assert stat.S_IMODE((tmp_path / "c").lstat().st_mode) == 0o600


def test_without_control(launch: Launch, tmp_path: Path) -> None:
    server = launch("plain:app", "--no-control", env={"REUSEPORT_RUNTIME_DIR": str(tmp_path / "run")}).ready(
        1
    )
    assert not (tmp_path / "run").exists()
    assert server.count("control at|admin at") == 0


def test_a_directory_that_cannot_be_had_is_told_of(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    server = launch("plain:app", env={"REUSEPORT_RUNTIME_DIR": str(tmp_path / "run")}).ready(1)
    assert server.count("going on without a control socket: .*give --control PATH, or --no-control") == 1
    assert server.count("control at") == 0


@pytest.mark.parametrize("kind", ["file", "directory", "symlink to a socket", "dangling symlink"])
def test_what_lies_at_the_path_is_left_alone(launch: Launch, tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "c", tmp_path / "target"
    with socket.socket(socket.AF_UNIX) as other:
        match kind:
            case "file":
                path.write_text("precious")
            case "directory":
                path.mkdir()
            case "symlink to a socket":
                other.bind(str(target))
                path.symlink_to(target)
            case "dangling symlink":
                path.symlink_to(target)
        before = path.lstat()
        refused(launch("plain:app", "--control", str(path)), f"{path} exists and is not a socket")
        assert path.lstat() == before
        assert target.exists() == (kind == "symlink to a socket")


def test_a_dead_launchers_socket_is_replaced(launch: Launch, tmp_path: Path) -> None:
    path = str(tmp_path / "c")
    first = launch("plain:app", "--control", path).ready(1)
    first.signal(signal.SIGKILL)
    first.popen.wait()
    assert Path(path).is_socket()
    second = launch("plain:app", "--control", path)
    assert control_of(second) == path
    assert alive(path)


def test_a_living_launchers_socket_is_refused(launch: Launch, tmp_path: Path) -> None:
    path, pid_file = tmp_path / "c", tmp_path / "pid"
    first = launch("plain:app", "--control", str(path)).ready(1)
    refused(
        launch("plain:app", "--control", str(path), "--pid-file", str(pid_file)),
        "is served by another program",
    )
    assert not pid_file.exists()
    assert alive(str(path))
    assert first.stop() == 0


def test_what_somebody_else_has_put_there_meanwhile_stays(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "c"
    server = launch("plain:app", "--control", str(path)).ready(1)
    path.unlink()
    path.write_text("somebody else's")
    assert server.stop() == 0
    assert path.read_text() == "somebody else's"


@pytest.mark.parametrize("path", ["missing/c", "x" * 200])
def test_a_path_that_cannot_be_one(launch: Launch, tmp_path: Path, path: str) -> None:
    refused(launch("plain:app", "--control", str(tmp_path / path)), path)


# ── the runtime directory ─────────────────────────────────────────────────────────────────────────────


def test_the_environment_names_it(tmp_path: Path) -> None:
    ours, systemd = tmp_path / "ours", tmp_path / "systemd"
    both = {"REUSEPORT_RUNTIME_DIR": str(ours), "RUNTIME_DIRECTORY": f"{systemd}:/other"}
    assert runtime.directory(both) == ours
    del both["REUSEPORT_RUNTIME_DIR"]
    assert runtime.directory(both) == systemd
    fallback = Path(f"/tmp/reuseport-{os.geteuid()}")
    assert runtime.directories({})[-1] == fallback
    wanted = Path("/run/reuseport") if os.geteuid() == 0 else tmp_path / "reuseport"
    assert runtime.directories({"XDG_RUNTIME_DIR": str(tmp_path)})[0] == wanted


@pytest.mark.parametrize("variable", ["REUSEPORT_RUNTIME_DIR", "RUNTIME_DIRECTORY"])
def test_one_that_is_named_is_not_replaced_by_another(tmp_path: Path, variable: str) -> None:
    (tmp_path / "file").write_text("")
    for path, why in ((tmp_path / "file", "File exists"), (tmp_path / "a" / "b", "No such file")):
        with pytest.raises(ConfigurationError, match=rf"{path}: {why}.*give --control PATH"):
            runtime.directory({variable: str(path)})


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o720])
def test_others_may_not_write_there(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"others may write there \(mode {mode:o}\)"):
        runtime.directory({"REUSEPORT_RUNTIME_DIR": str(directory)})


def test_a_symlink_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigurationError, match="not a directory"):
        runtime.directory({"REUSEPORT_RUNTIME_DIR": str(tmp_path / "link")})


@root
def test_another_users_directory(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, -1)
    with pytest.raises(ConfigurationError, match="it belongs to another user"):
        runtime.directory({"REUSEPORT_RUNTIME_DIR": str(directory)})


# ── the admin address ─────────────────────────────────────────────────────────────────────────────────


def test_at_ipv6(launch: Launch) -> None:
    server = launch("plain:app", "--no-control", "--admin", "[::1]:0")
    assert admin_of(server)[0] == "::1"
    assert alive(admin_of(server))


def test_at_a_unix_path_it_is_only_to_look_at(launch: Launch, tmp_path: Path) -> None:
    path = str(tmp_path / "admin")
    server = launch("plain:app", "--admin", f"unix:{path}", "--control", str(tmp_path / "c")).ready(1)
    served = Served(server, str(tmp_path / "c"), ("", 0))
    assert stat.S_IMODE(Path(path).lstat().st_mode) == 0o600
    assert served.ask("/api/v1/status", headers={"Host": "any"}, place=path).status == 200
    assert served.ask("/api/v1/reload", "POST", body=b"", place=path).status == 403
    assert server.stop() == 0
    assert not Path(path).exists()


def test_a_port_that_is_taken(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused(launch("plain:app", "--admin", f"127.0.0.1:{port}"), f"127.0.0.1:{port} is in use")


def test_the_clients_port(launch: Launch) -> None:
    """Clients would reach the launcher, or visitors a worker."""
    server = launch("plain:app").ready(1)
    port = server.port
    server.stop()
    ours = "it is this server itself; choose another port"
    refused(launch("plain:app", "--port", str(port), "--admin", f"127.0.0.1:{port}"), ours)
    other = launch("plain:app", "--port", str(port)).ready(1)
    refused(launch("plain:app", "--admin", f"127.0.0.1:{port}"), "is in use")
    assert other.stop() == 0


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", ":0"])
def test_where_others_could_reach_it_it_needs_a_token(launch: Launch, tmp_path: Path, address: str) -> None:
    refused(launch("plain:app", "--admin", address), "has no token", "--admin-open")
    server = launch("plain:app", "--admin", address, "--admin-open")
    assert alive(("127.0.0.1", admin_of(server)[1]))


def test_with_a_token_it_may_be_reached(launch: Launch, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o640)
    server = launch("plain:app", "--admin", "0.0.0.0:0", "--admin-token-file", str(token))
    assert alive(("127.0.0.1", admin_of(server)[1]))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"", "has no token of 16 characters"),
        (b"short\n", "has no token of 16 characters"),
        (b"x" * 5000, "has no token of 16 characters"),
        (b"two words are not a token", "has no token of 16 characters"),
        (b"0123456789abcdef\n0123456789abcdef\n", "has no token of 16 characters"),
        (b"0123456789abcde\x00f", "has no token of 16 characters"),
        ("pässwörter-sind-lang".encode(), "it is no text"),
        (b"\xff\x00" * 20, "it is no text"),
    ],
)
def test_token_files_that_have_none(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"{why}.*openssl rand -hex 32"):
        read_token(str(path))


def test_white_space_around_a_token_is_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("  0123456789abcdef\r\n")
    (tmp_path / "token").chmod(0o600)
    assert read_token(str(tmp_path / "token")).matches(b"0123456789abcdef")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o777])
def test_a_token_that_everybody_may_read_or_write_is_none(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef")
    path.chmod(mode)
    with pytest.raises(
        ConfigurationError, match=rf"may be read by everybody \(mode {mode:o}\).*chmod o= {path}"
    ):
        read_token(str(path))


@root
def test_who_keeps_our_token_may_have_reasons(tmp_path: Path) -> None:
    """A secret that a container is given."""
    path = tmp_path / "token"
    path.write_text("0123456789abcdef")
    path.chmod(0o444)
    os.chown(path, NOBODY, NOBODY)
    assert read_token(str(path)).matches(b"0123456789abcdef")


def test_a_token_file_that_has_none_refuses_the_start(launch: Launch, tmp_path: Path) -> None:
    arguments = ("--admin", "127.0.0.1:0", "--admin-token-file", str(tmp_path / "none"))
    refused(
        launch("plain:app", "--control", str(tmp_path / "c"), *arguments), "cannot read --admin-token-file"
    )
    assert not (tmp_path / "c").exists()


# ── what it costs ─────────────────────────────────────────────────────────────────────────────────────


def test_who_has_no_door_loads_nothing_for_it_and_visitors_leave_nothing_behind(
    launch: Launch, tmp_path: Path
) -> None:
    """A web framework in Python is 10 MB, and leaves no other trace in /proc."""
    closed = psutil.Process(launch("plain:app", "--no-control").ready(1).pid)
    served = serve(launch, tmp_path, workers=1)
    launcher = psutil.Process(served.server.pid)
    assert alive(served.admin)
    assert launcher.memory_info().rss > closed.memory_info().rss + 4_000_000
    assert served.ask("/api/v1/status").status == 200
    descriptors, threads = launcher.num_fds(), launcher.num_threads()
    assert threads <= 3, "one reads /proc and one writes the log, beside the loop's"
    for _ in range(100):
        assert alive(served.control)
        assert alive(served.admin)
    wait_until(lambda: launcher.num_fds() <= descriptors, lambda: f"{descriptors} → {launcher.num_fds()}")
    assert launcher.num_threads() == threads
