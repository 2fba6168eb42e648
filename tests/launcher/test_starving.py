"""A launcher that stays without free descriptors: what it looks at regularly waits, and it goes on."""

from __future__ import annotations

import resource
import signal

import httpx

from tests.conftest import Launch

TRIES = 7
"""The pauses between them come to 8 seconds at least: all regular looks have had their turn by then."""


def test_it_goes_on_without_looking_at_neighbours_and_memory(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--worker-max-rss", "4G").ready(1)
    limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # not one, whatever it closes
    server.signal(signal.SIGTTIN)
    for _ in range(TRIES):
        server.wait_for("slot 1 could not be spawned")
    assert httpx.get(server.url).status_code == 200
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
    server.wait_for("slot 1 is ready")
    assert server.stop() == 0
