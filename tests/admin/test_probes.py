"""Probes from the start to the stop: when a load balancer is to come, and when to go."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.admin.visits import Served, serve
from tests.conftest import Launch
from tests.whole.lines import wait_until


def told(served: Served) -> dict[str, int]:
    """The status of each probe."""
    return {
        name: served.ask(f"/{name}", place=served.admin).status for name in ("livez", "startupz", "readyz")
    }


def test_from_start_to_stop(launch: Launch, tmp_path: Path) -> None:
    served = serve(
        launch,
        tmp_path,
        *("--min-ready", "2", "--shutdown-delay", "30s"),
        env={"TEST_STARTUP_SECONDS": "2"},
        ready=False,
    )
    assert told(served) == {"livez": 200, "startupz": 503, "readyz": 503}
    assert served.ask("/startupz").body == b"not ok: no worker has been ready yet\n"
    served.server.ready(2)
    assert told(served) == {"livez": 200, "startupz": 200, "readyz": 200}
    assert served.ask("/readyz").body == b"ok: 2 of 2 workers are ready, 2 must be\n"

    served.post("/scale", {"workers": 1})
    wait_until(lambda: told(served)["readyz"] == 503)
    assert b"1 of 1 workers are ready, 2 must be" in served.ask("/readyz").body
    served.post("/scale", {"workers": 2})
    wait_until(lambda: told(served)["readyz"] == 200)

    served.server.signal(signal.SIGTERM)
    served.server.wait_for("stopping")
    assert told(served) == {"livez": 200, "startupz": 200, "readyz": 503}
    assert served.ask("/readyz").body == b"not ok: stopping\n"
    served.server.signal(signal.SIGQUIT)
    assert served.server.wait() == 1
