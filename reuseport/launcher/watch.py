"""--reload, for development: a helper process watches files and sends the launcher SIGHUP.

So a change is a rolling reload like any other: a file that does not import is reported, and the last
version that worked keeps serving.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from reuseport.channel import Channel, Start
from reuseport.launcher.process import execute, worker_environment
from reuseport.settings import Settings


@contextlib.contextmanager
def watching(settings: Settings) -> Iterator[None]:
    """Run the watcher while the launcher runs, if the settings want one. Raises OSError."""
    if not settings.reload:
        yield
        return
    channel, theirs = Channel.pair()
    with theirs:
        watcher = execute("reuseport.worker.watch", [], theirs.fileno(), worker_environment(os.environ))
    channel.send(Start(settings.to_json(), 0, 0, 0, 0, 0))
    try:
        yield
    finally:
        watcher.terminate()
        watcher.wait()
        channel.close()
