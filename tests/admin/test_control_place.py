"""A control socket that has no place: an error where somebody asked for it, a warning where nobody did."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Launch


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
