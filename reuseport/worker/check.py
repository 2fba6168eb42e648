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
    settings = Settings.from_json(order.settings)
    logs.configure(settings, logs.Place("check"))
    from reuseport.worker.application import Application, StartupError

    try:
        Application(settings).try_out()
    except StartupError as error:
        channel.send(error.failed)
        return 1
    channel.send(Ready())
    return 0


if __name__ == "__main__":
    sys.exit(main())
