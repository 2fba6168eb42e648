"""`plain:app`, but every request writes a line to stderr when it begins, so that a test can wait for that.

`/hold?until=PATH` answers once the file exists · `/block?s=1` blocks the loop in a function with a name to
look for in a stack · `/stray` leaves a process behind that nobody waits for, and says which.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from tests.apps import plain  # a worker finds it on --app-dir, mypy from the root
else:
    import plain

STRAY = "sleep 600 >/dev/null 2>&1 & echo $!"


async def app(scope: plain.Scope, receive: plain.Receive, send: plain.Send) -> None:
    if scope["type"] == "http":
        query = parse_qs(scope["query_string"].decode())
        sys.stderr.write(f"{scope['path']} begins in slot {os.environ['REUSEPORT_SLOT']}\n")
        match scope["path"]:
            case "/hold":
                await exists(Path(query["until"][0]))
            case "/block":
                sit_on_the_loop(float(query["s"][0]))
                scope = {**scope, "path": "/"}
            case "/stray":
                leave_a_stray()
    await plain.app(scope, receive, send)


async def exists(path: Path) -> None:
    while not path.exists():  # noqa: ASYNC110, ASYNC240 - another process makes the file, and a stat is quick
        await asyncio.sleep(0.02)


def sit_on_the_loop(seconds: float) -> None:
    time.sleep(seconds)


def leave_a_stray() -> None:
    """The shell exits and is waited for; its child goes to the next subreaper or to PID 1."""
    subprocess.run(["/bin/sh", "-c", STRAY], stdout=subprocess.DEVNULL, check=True)
