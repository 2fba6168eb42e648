"""Python for another user, also where it is installed in somebody's home: in a mount namespace of its own."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT.resolve()]
"""The interpreter's library, the installed packages, and this tree."""

ENTERED = ["unshare", "--mount", "sh", "-ec"]


def reachable() -> list[str]:
    """A command that runs another where every user can execute our interpreter; none where all can already.

    Skips the test where we may not become another user, or cannot be given such a place.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can run workers as another user")
    wrapper = [*ENTERED, _script(), "sh"] if any(map(_closed, NEEDED)) else []
    trial = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable]
    tried = subprocess.run(
        [*wrapper, *trial, "-c", "import reuseport, uvicorn"], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"another user cannot execute {sys.executable} here: {tried.stderr.strip()}")
    return wrapper


def _closed(path: Path) -> Path | None:
    """The outermost directory on the way that others may not enter."""
    above = [*reversed(path.parents), path]
    return next((each for each in above if not each.stat().st_mode & stat.S_IXOTH), None)


def _script() -> str:
    """Put something empty and open over each closed directory, and what is needed back into it."""
    kept = [path for path in NEEDED if _closed(path)]
    lines = ["kept=$(mktemp -d)"]
    for number, path in enumerate(map(shlex.quote, map(str, kept))):
        lines += [f"mkdir $kept/{number}", f"mount --bind {path} $kept/{number}"]
    for closed in sorted({shlex.quote(str(_closed(path))) for path in kept}):
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs {closed}")
    for number, path in enumerate(map(shlex.quote, map(str, kept))):
        lines += [f"mkdir -p {path}", f"mount --move $kept/{number} {path}", f"rmdir $kept/{number}"]
    return "\n".join([*lines, "rmdir $kept", 'exec "$@"'])
