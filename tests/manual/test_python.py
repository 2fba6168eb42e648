"""What the manual shows of Python code runs as it stands there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launch
from tests.papers import blocks, read
from tests.whole.lines import settled, wait_until
from tests.whole.test_running import ended

GREETING = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def hello(request):
    return PlainTextResponse("Hello!")


app = Starlette(routes=[Route("/", hello)])
"""
SERVED = """
from starlette.applications import Starlette

app = Starlette(lifespan=lifespan)
"""


def shown(word: str) -> str:
    """The example with this word."""
    (source,) = (block for block in blocks(read("python"), "python") if word in block)
    return source


def test_the_test_of_an_application_passes(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/web.py").write_text(GREETING)
    (tmp_path / "test_shop.py").write_text(shown("serving"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=2 * PATIENCE
    )
    assert "1 passed" in done.stdout, done.stdout


def test_the_script_serves(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/web.py").write_text(GREETING)
    (tmp_path / "serve.py").write_text(shown("run(").replace("127.0.0.1:8000", "127.0.0.1:0"))
    with (
        subprocess.Popen(
            [sys.executable, "serve.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        ) as server,
        ended(server),
    ):
        assert server.stderr is not None
        assert any("workers are ready" in line for line in server.stderr)
        server.send_signal(signal.SIGTERM)
        server.stderr.read()
    assert server.returncode == 0


def test_the_scheduler_runs_once_before_and_after_a_reload(launch: Launch, tmp_path: Path) -> None:
    source = shown("only_one")
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
