"""The main job: N workers on one port answer, each from a process and a listener of its own."""

from __future__ import annotations

import httpx

from tests.conftest import Launch


def test_workers_share_a_port_and_say_who_they_are(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "3").ready(3)
    seen = {}
    for _ in range(200):
        who = httpx.get(server.url).json()
        seen[int(who["slot"])] = who["pid"]
        if len(seen) == 3:
            break
    assert seen == server.workers()
    assert server.stop() == 0
