"""Slots out of service, and what else may then be asked for: some slot always stays that is to be served."""

from __future__ import annotations

import pytest

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Reason, Request
from tests.launcher.deciding.test_requests import served
from tests.launcher.deciding.test_supervisor import spawns, texts


@pytest.mark.parametrize("request_", [ev.ScaleTo(1), ev.ScaleRequested(-1)])
def test_scaling_to_slots_that_are_all_out_of_service_is_refused(request_: Request) -> None:
    play = served(2)
    play.feed(ev.DrainRequested(0))
    play.exits(1)
    assert "refused: all that would be left is out of service" in texts(play.feed(request_))
    assert play.supervisor.target == 2
    # Else nobody would be wanted now, and who dies here would have been the last.
    assert spawns(play.exits(2)) == [(1, Reason.CRASH)]


def test_scaling_to_a_slot_that_serves_is_not_refused() -> None:
    play = served(3)
    play.feed(ev.DrainRequested(0))
    play.feed(ev.ScaleTo(2))
    assert play.supervisor.target == 2
    play.feed(ev.ScaleTo(4))
    assert play.supervisor.target == 4
