"""The application is imported where it will be served: in the worker's running event loop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import PATIENCE, Launch
from tests.whole.clients import environment

EARLY = """
import asyncio

loop = asyncio.get_event_loop()
begun = asyncio.Event()

async def begin():
    begun.set()

task = asyncio.create_task(begin())

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await begun.wait()
    same = asyncio.get_running_loop() is loop
    await send({"type": "http.response.start", "status": 200 if same else 500, "headers": []})
    await send({"type": "http.response.body", "body": b"begun"})
"""

LATE = """
import asyncio

async def prepare():
    pass

asyncio.run(prepare())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_task_begun_at_import_runs_in_the_serving_loop(launch: Launch, tmp_path: Path, loop: str) -> None:
    (tmp_path / "early.py").write_text(EARLY)
    server = launch("early:app", "--app-dir", str(tmp_path), "--workers", "2", "--loop", loop).ready(2)
    for _ in range(4):
        assert httpx.get(server.url, timeout=PATIENCE).text == "begun"
    assert server.stop() == 0


def test_a_loop_of_its_own_is_refused_with_the_way_out(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(LATE)
    server = launch("late:app", "--app-dir", str(tmp_path))
    assert server.wait() == 3
    assert server.count("RuntimeError: asyncio.run\\(\\) cannot be called from a running event loop") == 1
    assert server.count("await this in lifespan startup") == 1


def test_check_imports_as_a_worker_does(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text(EARLY)
    checked = subprocess.run(
        [sys.executable, "-m", "reuseport", "check", "early:app"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_who_imports_for_long_says_where(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\n\ntime.sleep(600)\n")
    server = launch("slow:app", "--app-dir", str(tmp_path), "--startup-timeout", "3s")
    server.wait_for(r"WARNING .*worker in slot 0 is not ready after \d+ s, in <module> \(.*slow\.py:3\)")
    server.wait_for(r"was not ready within 3 s \(--startup-timeout\), in <module> \(.*slow\.py:3\): stacks")
    assert server.wait() == 3
