"""`reuseport check`, the throw-away process: import the application, say how it went, exit."""

from __future__ import annotations

import sys

from reuseport import logs
from reuseport.messages import Ready
from reuseport.settings.table import Settings
from reuseport.worker.begin import begin


def main() -> int:
    """Import and judge APP; no lifespan, no socket."""
    channel, order, _ = begin(sys.argv[1:])
    from reuseport.worker.application import Application, StartupError
    from reuseport.worker.stage import set_stage

    settings = set_stage(Settings.from_json(order.settings), order.slot)
    logs.configure(settings, logs.Place("check"))
    try:
        Application(settings).try_out()
    except StartupError as error:
        channel.send(error.failed)
        return 1
    channel.send(Ready())
    return 0
