"""--reload, for development: a helper process watches files and sends the launcher SIGHUP.

So a change is a rolling reload like any other: a file that does not import is reported, and the last
version that worked keeps serving.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from reuseport.channel import Channel, PeerGoneError
from reuseport.launcher.becoming import worker_environment
from reuseport.launcher.execution import execute
from reuseport.messages import Failed, Start, ToLauncher
from reuseport.packets import ViolationError
from reuseport.settings.table import Settings

PATIENCE = 2.0
"""Seconds that the watcher has to end in."""

log = logging.getLogger("reuseport")


@contextlib.contextmanager
def watching(settings: Settings) -> Iterator[None]:
    """Run the watcher while the launcher runs, if the settings want one. Raises OSError."""
    if not settings.reload:
        yield
        return
    channel, theirs = Channel.pair()
    with theirs:
        watcher = execute("reuseport.worker.autoreload", [], theirs, worker_environment(os.environ))
    channel.send(Start(settings.to_json(), 0, 0, 0, 0, 0))
    try:
        yield
    finally:
        with contextlib.suppress(ChildProcessError):  # it had ended, and was reaped with the strays
            watcher.end(PATIENCE)
        _tell(channel)
        channel.close()


def _tell(channel: Channel[ToLauncher]) -> None:
    """What it had to say, if it was not even executed. The workers have failed alike, and said so at once."""
    with contextlib.suppress(PeerGoneError, ViolationError):
        for message, _ in channel.receive():
            if isinstance(message, Failed):
                log.error("changes were not watched: %s", message.text)
