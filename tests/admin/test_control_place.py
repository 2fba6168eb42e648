"""A control socket that has no place: an error where somebody asked for it, a warning where nobody did."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launch


def test_nobody_asked_for_it(launch: Launch, tmp_path: Path) -> None:
    long = str(tmp_path / ("x" * 110))
    server = launch("plain:app", "--workers", "1", env={"REUSEPORT_RUNTIME_DIR": long})
    server.wait_for("WARNING .* going on without a control socket: .*too long")
    server.ready(1)
    assert server.stop() == 0


def test_somebody_asked_for_it(launch: Launch, tmp_path: Path) -> None:
    server = launch("plain:app", "--workers", "1", "--control", str(tmp_path / ("x" * 110)))
    server.wait_for("Error: .*too long")
    assert server.wait() == 2


def test_its_name_is_taken_by_something_else(launch: Launch, tmp_path: Path) -> None:
    """Whoever runs later under this pid: the launcher's own is not known before it runs."""
    wrapper = ["sh", "-c", 'mkdir -m 700 rt rt/$$.sock; REUSEPORT_RUNTIME_DIR=rt exec "$@"', "sh"]
    server = launch("plain:app", "--workers", "1", wrapper=wrapper)
    server.wait_for("WARNING .* going on without a control socket: .* is not a socket")
    server.ready(1)
    assert server.stop() == 0


def test_what_killed_launchers_have_left_behind_is_swept(launch: Launch, tmp_path: Path) -> None:
    env = {"REUSEPORT_RUNTIME_DIR": str(tmp_path / "rt")}
    killed = launch("plain:app", "--workers", "1", env=env).ready(1)
    left = Control(killed).path
    killed.popen.kill()
    killed.wait()
    killed.popen.wait(PATIENCE)
    directory = left.parent
    # Not so: what is no launcher's, whose process lives, and where somebody of another pid namespace listens.
    (directory / "notes.sock").touch()
    kept = [directory / f"{pid}.sock" for pid in (os.getpid(), 4194304, 10**30, 4194303)]
    for path in kept[:2]:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    for path in kept[2:]:
        path.touch()
    with socket.socket(socket.AF_UNIX) as elsewhere:
        kept[1].unlink()
        elsewhere.bind(str(kept[1]))
        elsewhere.listen()
        other = launch("plain:app", "--workers", "1", env=env).ready(1)
        assert left.is_socket() is False
        ours = Control(other).path
        assert set(directory.iterdir()) == {ours, directory / "notes.sock", *kept}
        assert other.stop() == 0
    assert not ours.exists()
