"""Only workers that were spawned are counted as such, whoever is asked."""

from __future__ import annotations

import resource
import signal

from tests.admin.asking import Control
from tests.conftest import Launch


def test_a_worker_that_could_not_be_spawned_is_counted_nowhere(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    control = Control(server)
    assert control.status()["spawns"] == {"start": 1}
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    server.signal(signal.SIGTTIN)
    server.wait_for("slot 1 could not be spawned")
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    server.wait_for("slot 1 is ready")
    status = control.status()
    assert sum(status["spawns"].values()) == 2
    assert [slot["spawns"] for slot in status["slots"]] == [1, 1]
    assert server.stop() == 0
