"""What is done before the event loop runs: the stage, the log, the configuration.

A worker does it when it begins. One that is forked from a mold which has imported the application (--preload)
finds it done, and says only who it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from reuseport import logs
from reuseport.messages import Start
from reuseport.records import record
from reuseport.settings.table import Settings
from reuseport.worker.application import Application
from reuseport.worker.protocol.accesslog import AccessLog, begin_access_log
from reuseport.worker.stage import be_a_child, set_stage, tell_where_we_are


@record(frozen=True, slots=True)
class Readied:
    """Of one process. `settings` as they hold in it."""

    settings: Settings
    application: Application
    access_log: AccessLog | None

    def take_place(self, order: Start) -> None:
        """From now on we are this worker, forked from who was readied."""
        place = logs.worker(order.slot, order.generation)
        logs.moved(place)
        if self.access_log is not None:
            self.access_log.move(self.settings, place)
        self.application.tickets = order.tickets
        be_a_child(order.slot)


def ready(settings: Settings, slot: int, place: logs.Place, tickets: Sequence[str] = ()) -> Readied:
    """Be as the application expects. Raises ConfigurationError and StartupError."""
    settings = set_stage(settings, slot)
    logs.configure(settings, place)
    tell_where_we_are()
    access_log = begin_access_log(settings, place)
    return Readied(settings, Application(settings, tickets), access_log)
