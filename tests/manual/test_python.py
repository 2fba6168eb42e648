"""What the manual shows of Python code runs as it stands there."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from tests.admin.asking import Control
from tests.conftest import Launch
from tests.papers import blocks, read
from tests.whole.lines import settled, wait_until

SERVED = """
from starlette.applications import Starlette

app = Starlette(lifespan=lifespan)
"""


def test_the_scheduler_runs_once_before_and_after_a_reload(launch: Launch, tmp_path: Path) -> None:
    (source,) = (block for block in blocks(read("python"), "python") if "only_one" in block)
    (tmp_path / "app.py").write_text(source + SERVED)
    server = launch("app:app", "--workers", "2", "--app-dir", str(tmp_path)).ready(2)
    control = Control(server)

    def holders() -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = json.loads(control.ask("GET", "/api/v1/status")[1])["only_one"]
        return told

    wait_until(lambda: [one["name"] for one in holders()] == ["scheduler"])
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    settled(server, 2)
    pids = set(server.workers().values())
    wait_until(lambda: [one["pid"] in pids for one in holders()] == [True])
    assert server.stop() == 0
    assert server.count("Traceback") == 0
