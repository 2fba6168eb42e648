"""An upgrade on disk while a launcher runs: what it starts from then on is other code."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.conftest import MOLD, Launch, Launched
from tests.whole.lines import Line
from tests.whole.modules import FRESH

PACKAGE = Path(__file__).parents[2] / "reuseport"

UPGRADES = {
    "scoreboard.py": ("    HEARTBEAT = 0\n", "    NOVELTY = 42\n    HEARTBEAT = 0\n"),
    "messages.py": ("class ReopenLogs:\n", "class ReopenLogs:\n    novelty: int = 0\n"),
}


@pytest.fixture
def installed(launch: Launch, tmp_path: Path) -> tuple[Launched, Path]:
    """A server that runs from a copy of the package, and the copy."""
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "reuseport", ignore=shutil.ignore_patterns("__pycache__"))
    return (
        launch("plain:app", "--workers", "2", env={**FRESH, "PYTHONPATH": str(site)}).ready(2),
        site / "reuseport",
    )


@pytest.mark.parametrize("name", UPGRADES)
def test_other_code_is_refused_by_name_and_who_serves_goes_on(
    installed: tuple[Launched, Path], name: str
) -> None:
    server, package = installed
    before, after = UPGRADES[name]
    text = (package / name).read_text()
    assert text.count(before) == 1
    (package / name).write_text(text.replace(before, after))
    server.signal(signal.SIGHUP)
    refused = server.wait_for(
        r"could not start: the launcher is reuseport (\S+) \((\w+)\), and on disk is \S+ \((\w+)\)"
    )
    assert refused[2] != refused[3]
    assert server.count("the mold of generation 2 has failed: the launcher is reuseport") == (MOLD == {})
    server.wait_for("reload to generation 2 aborted.*generation 1 keeps serving")
    with Line(server.port) as line:
        assert line.ask().who["generation"] == "1"
    assert server.count("Traceback") == 0
    assert server.stop() == 0


def test_the_same_code_is_no_upgrade(installed: tuple[Launched, Path]) -> None:
    """Whatever else has changed in it."""
    server, package = installed
    demo = package / "demo.py"
    demo.write_text(demo.read_text() + "\n# a comment\n")
    os.utime(package / "scoreboard.py")
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    assert server.stop() == 0
