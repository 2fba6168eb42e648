"""`reuseport check`, the throw-away process: import the application, say how it went, exit."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from reuseport import logs
from reuseport.errors import ConfigurationError
from reuseport.messages import Failed, Ready
from reuseport.settings.table import Settings
from reuseport.worker.begin import begin
from reuseport.worker.ending import end_soon


def main() -> int:
    """Import and judge APP; no lifespan, no socket."""
    channel, order, _ = begin(sys.argv[1:])
    from reuseport.worker.application import Application, StartupError
    from reuseport.worker.stage import set_stage

    settings = set_stage(Settings.from_json(order.settings), order.slot)
    # It takes too long, or nobody wants to know any more. Not the default: the application tidies up at exit.
    signal.signal(signal.SIGTERM, _stop)
    found: Ready | Failed = Ready()
    try:
        logs.configure(settings, logs.Place("check"))
        Application(settings).try_out()
    except ConfigurationError as error:
        found = Failed("operator", str(error))
    except StartupError as error:
        found = error.failed
    signal.signal(signal.SIGTERM, _go_on)
    channel.send(found)
    channel.leave_open()
    end_soon(0)
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit("stopped")


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """We end already."""
