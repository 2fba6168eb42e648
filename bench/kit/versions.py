"""What is installed, by the name of its package: a figure belongs to a version."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

_NODE_PACKAGES = Path(__file__).parents[1] / "served" / "node" / "node_modules"
FROM_NPM = ("express", "autocannon")
PROGRAMS = {
    "node": ("node", "--version"),
    "wrk": ("wrk", "--version"),
    "ab": ("ab", "-V"),
    "h2load": ("h2load", "--version"),
}
"""Programs, and how each is asked; wrk answers with status 1."""

_NUMBER = re.compile(r"\d+\.[\w.]+")


def version_of(package: str) -> str:
    """Of a Python package, one of npm's, or a program. Raises ImportError naming what to do about it."""
    if package in FROM_NPM:
        return _of_npm(package)
    if package in PROGRAMS:
        return _of_program(package)
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise ImportError(f"{package} is not installed: install the dependency group bench") from error


def _of_npm(package: str) -> str:
    file = _NODE_PACKAGES / package / "package.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["version"])
    except FileNotFoundError as error:
        raise ImportError(f"{package} is not installed: npm ci --prefix bench/served/node") from error


def _of_program(program: str) -> str:
    if shutil.which(program) is None:
        raise ImportError(f"{program} is not installed: scripts/bench installs it")
    done = subprocess.run(
        PROGRAMS[program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    found = _NUMBER.search(done.stdout)
    if found is None:
        raise ImportError(f"{program} does not say its version, but: {done.stdout[:200]!r}")
    return found[0]
