"""Applications that a test writes, rewrites and breaks while they are served."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from tests.conftest import PATIENCE

FRESH = {"PYTHONDONTWRITEBYTECODE": "1"}
"""A cached .pyc is told from its source by size and whole seconds: too coarse for a test's rewrites."""

_SOURCE = """
import os

gate = os.path.join(os.path.dirname(__file__), "gate-" + os.environ.get("REUSEPORT_SLOT", ""))
if os.path.exists(gate):
    with open(gate) as stream:
        stream.read()

async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/die":
        os._exit(7)
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": {version!r}.encode()}})
"""


class Shop:
    """`shop.py` in a directory of its own: `versioned`, then perhaps broken; its import can be held up."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.arguments = ("shop:app", "--app-dir", str(directory))
        self.write("one")

    def write(self, version: str) -> None:
        """Source that answers with this text."""
        self._replace(_SOURCE.format(version=version))

    def break_(self, statement: str) -> None:
        """Source that executes this statement when it is imported."""
        self._replace(f"import time\n{statement}\n")

    def _replace(self, source: str) -> None:
        # At once, so that no worker imports half a file.
        new = self.directory / "shop.new"
        new.write_text(source, encoding="utf-8")
        new.rename(self.directory / "shop.py")

    def hold(self, slot: int) -> Gate:
        """The next worker that imports in this slot waits in the import until the gate opens."""
        return Gate(self.directory / f"gate-{slot}")


class Gate:
    """A FIFO (fifo(7)): opening an end waits for the other, so each side learns that the other is there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.mkfifo(path)
        self._end: int | None = None

    def reached(self) -> None:
        """Return once a worker waits in its import."""
        deadline = time.monotonic() + PATIENCE
        while self._end is None:
            try:
                self._end = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                # Nobody reads yet (open(2)). A blocking open would wait for ever if nobody ever does.
                if error.errno != errno.ENXIO or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._path.unlink()

    def open(self) -> None:
        """Let the worker go on; those that come later do not wait."""
        assert self._end is not None
        os.close(self._end)
        self._end = None
