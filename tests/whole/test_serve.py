"""The main job: N workers on one port answer, each from a process and a listener of its own."""

from __future__ import annotations

from tests.conftest import Launch
from tests.whole.clients import client, meet_all


def test_workers_share_a_port_and_say_who_they_are(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "3").ready(3)
    with client() as asking:
        met = meet_all(asking, server.url, 3)
    assert {slot: seen["pid"] for slot, seen in met.items()} == server.workers()
    assert server.stop() == 0
