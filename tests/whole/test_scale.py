"""SIGTTIN and SIGTTOU: one worker more, one fewer, at any moment."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.conftest import Launch
from tests.whole.modules import FRESH, Shop
from tests.whole.traffic import Traffic, ask, hold_in_slot, listeners, wait_for_lines

UP, DOWN = signal.SIGTTIN, signal.SIGTTOU


def test_up_and_down_but_never_below_one(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--no-access-log").ready(1)
    with Traffic(server.port) as traffic:
        for slot in (1, 2):
            server.signal(UP)
            server.wait_for(rf"slot {slot} is ready \(generation 1, .* reason: scale\)")
        assert server.workers().keys() == {0, 1, 2}
        traffic.wait_until(lambda answers: {answer["slot"] for answer in answers} == {"0", "1", "2"})
        for slot in (2, 1):
            server.signal(DOWN)
            server.wait_for(rf"worker in slot {slot} \(pid \d+\) exited cleanly")
        server.signal(DOWN)
        server.wait_for("scaling refused")
        known = len(traffic.answers)
        traffic.wait_until(lambda answers: len(answers) > known + 50)
    assert not traffic.failures
    assert {answer["slot"] for answer in traffic.answers[known + 2 :]} == {"0"}
    assert server.workers().keys() == {0}
    assert server.stop() == 0


def test_up_and_down_again_and_again_opens_no_more_listeners(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    for _ in range(3):
        server.signal(DOWN)
        server.wait_for(r"worker in slot 1 \(pid \d+\) exited cleanly")
        server.signal(UP)
        server.wait_for("slot 1 is ready .* reason: scale")
        assert len(listeners(server.port)) == 2
    assert server.workers().keys() == {0, 1}
    assert server.stop() == 0


def test_a_slot_that_drains_long_keeps_nobody_waiting(launch: Launch) -> None:
    server = launch("patient:app", "--workers", "2").ready(2)
    with hold_in_slot(server.port, 1) as held:
        server.signal(DOWN)
        server.wait_for("slot 1: Shutting down")
        # By the hash, about half of these would go to slot 1 if its listener still stood.
        for _ in range(20):
            assert json.loads(ask(server.port).splitlines()[0])["slot"] == "0"
        assert "complete" in held.release()
    server.wait_for(r"slot 1 \(pid \d+\) exited cleanly")
    assert server.stop() == 0


def test_up_again_while_the_old_worker_drains(launch: Launch) -> None:
    server = launch("patient:app", "--workers", "2").ready(2)
    old = server.workers()[1]
    with hold_in_slot(server.port, 1) as held:
        server.signal(DOWN)
        server.wait_for("slot 1: Shutting down")
        server.signal(UP)
        server.wait_for("slot 1 is ready .* reason: scale")
        with hold_in_slot(server.port, 1) as newer:
            assert "complete" in newer.release()
        assert "complete" in held.release()
    server.wait_for(rf"slot 1 \(pid {old}\) exited cleanly")
    assert server.workers().keys() == {0, 1}
    assert len(listeners(server.port)) == 2
    assert server.stop() == 0


def test_down_during_a_reload(launch: Launch, tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    server = launch(*shop.arguments, "--workers", "3", env=FRESH).ready(3)
    gate = shop.hold(1)
    server.signal(signal.SIGHUP)
    gate.reached()
    server.signal(DOWN)  # slot 2, which waits for its turn
    server.wait_for("scaling from 3 to 2")
    server.signal(DOWN)  # slot 1, whose successor starts
    server.wait_for("scaling from 2 to 1")
    server.wait_for("generation 2 serves in every slot")
    wait_for_lines(server, r"worker in slot \d \(pid \d+\) exited cleanly", 3)
    wait_for_lines(server, r"worker in slot 1 \(pid \d+\) is gone, ended by our SIGTERM", 1)
    assert server.workers().keys() == {0}
    assert ask(server.port) == "one"
    assert server.stop() == 0
    gate.open()
