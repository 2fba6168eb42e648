"""What an application finds in its process here and under `uvicorn --workers`: the same, but for a list."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conftest import Launch
from tests.papers import read
from tests.whole.clients import listening
from tests.whole.lines import wait_until

MOVING_OVER = read("moving-over")

DIFFERENT = {
    "environment": ("`REUSEPORT_SLOT`", "`REUSEPORT_GENERATION`"),
    "extensions": ("`reuseport.draining`",),
    "faulthandler": ("faulthandler",),
    "scope": ("`reuseport.draining`",),  # it has extensions at all
    "signals": ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTTIN", "SIGTTOU", "SIGUSR1", "SIGUSR2"),
    "start method": ("start method",),
}
"""Facts (tests/apps/found.py), and what "Moving over" must say of them."""


@pytest.fixture
def both(launch: Launch) -> tuple[dict[str, Any], dict[str, Any]]:
    """Uvicorn's and ours."""
    servers = [launch("found:app", "--workers", "2", module=module) for module in ("uvicorn", "reuseport")]
    wait_until(lambda: all(listening(server.port) for server in servers))
    theirs, ours = (httpx.get(server.url, timeout=20).json() for server in servers)
    return theirs, ours


def test_what_differs_is_what_the_readme_says(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    theirs, ours = both
    assert theirs.keys() == ours.keys()
    different = {name: (theirs[name], ours[name]) for name in theirs if theirs[name] != ours[name]}
    assert different.keys() == DIFFERENT.keys(), different
    assert set(ours["environment"]) - set(theirs["environment"]) == {"REUSEPORT_SLOT", "REUSEPORT_GENERATION"}
    assert set(theirs["environment"]) <= set(ours["environment"])
    assert (theirs["extensions"], ours["extensions"]) == ([], ["reuseport.draining"])
    signals = {name for name, what in theirs["signals"].items() if what != ours["signals"][name]}
    assert signals <= set(DIFFERENT["signals"])
    for name, words in DIFFERENT.items():
        for word in words:
            assert word in MOVING_OVER, f"{name} is not told in the manual"
