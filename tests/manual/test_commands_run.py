"""The commands to a running server that README.md and the manual show, each typed as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from reuseport.client.commands import COMMANDS
from tests.conftest import PATIENCE, Launch
from tests.papers import PAPERS, blocks

SHOWN = sorted(
    {
        line.partition(" #")[0].strip()
        for paper in PAPERS
        for block in blocks(re.sub("^  ", "", paper.read_text(encoding="utf-8"), flags=re.MULTILINE), "sh")
        for line in block.splitlines()
        if (words := line.split())[:3] == ["python", "-m", "reuseport"] and words[3] in {*COMMANDS, "check"}
    }
)
ENDLESS = "top"
"""Of itself it goes on; it is told to end."""


def test_there_are_some() -> None:
    kinds = {line.split()[3] for line in SHOWN}
    assert {"status", "reload", "scale", "check", "top"} <= kinds


def test_what_the_papers_show_works(launch: Launch, tmp_path: Path) -> None:
    """In alphabetical order, on one server of four workers."""
    source = "async def app(scope, receive, send):\n    raise RuntimeError\n"
    (tmp_path / "app.py").write_text(source, encoding="utf-8")
    runtime = {"REUSEPORT_RUNTIME_DIR": str(tmp_path / "run")}
    flags = ("--workers", "4", "--lifespan", "off", "--app-dir", str(tmp_path))
    server = launch("app:app", *flags, env=runtime).ready(4)
    for line in SHOWN:
        words = [sys.executable, *shlex.split(line.replace("8000", str(server.port)))[1:]]
        if words[3] == ENDLESS:
            words += ["--count", "1"]
        environment = {**os.environ, **runtime, "WEB_CONCURRENCY": "4"}
        done = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=tmp_path,
            env=environment,
        )
        if done.returncode != 0:
            pytest.fail(f"{line}: status {done.returncode}\n{done.stdout}{done.stderr}")
    assert server.stop() == 0
