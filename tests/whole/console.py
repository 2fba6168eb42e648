"""The commands that see and steer, run as an operator does: each is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import PATIENCE


class Console:
    """Commands that know of one runtime directory, which belongs to the test alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700)
        self.env = {"REUSEPORT_RUNTIME_DIR": str(directory)}
        """For the server, too."""

    def begin(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Run it, and do not wait."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("REUSEPORT_")}
        return subprocess.Popen(
            [sys.executable, "-m", "reuseport", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**inherited, **self.env, **(env or {})},
        )

    def run(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return ended(self.begin(*arguments, env=env))

    def does(self, *arguments: str) -> str:
        """What it printed. Fails unless it exits with 0."""
        done = self.run(*arguments)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return done.stdout


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Its end."""
    try:
        stdout, stderr = process.communicate(timeout=2 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"{process.args!r} does not end:\n{stdout}\n{stderr}") from None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
