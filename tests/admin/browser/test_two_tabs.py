"""The article's two tabs, in a real browser that keeps its connections: neither waits for the other."""

from __future__ import annotations

import psutil
import pytest
from playwright.sync_api import Browser

from tests.conftest import Launch, Launched
from tests.whole.lines import wait_until

pytestmark = pytest.mark.alone
N = 2_000_000_000
"""More adding than a test has time for: the server is stopped in the midst of it."""
BUSY = 0.1
"""Seconds of CPU by which a worker tells that it counts."""
VISITS = 5
PROMPT = 2000.0
"""Milliseconds for a page of a dozen bytes, on a machine that does much else."""


def used(server: Launched) -> dict[int, float]:
    """Seconds of CPU of each worker, by pid."""
    return {pid: psutil.Process(pid).cpu_times().user for pid in server.workers().values()}


@pytest.mark.parametrize("balance", ["auto", "hash"])
def test_the_second_tab_is_answered_while_the_first_one_waits(
    launch: Launch, chromium: Browser, balance: str
) -> None:
    server = launch("--workers", "2", "--balance", balance).ready(2)
    context = chromium.new_context()
    first, second = context.new_page(), context.new_page()
    for _ in range(3):  # until both have connections, which are kept
        for tab in (first, second):
            assert tab.goto(server.url) is not None
    before = used(server)
    first.evaluate(
        f"() => {{ window.counted = null; fetch('/api/{N}').then(r => window.counted = r.status) }}"
    )
    # A request that came in the same turn of the loop would be read before the worker is blocked, and wait.
    wait_until(lambda: any(used(server)[pid] > before[pid] + BUSY for pid in before))
    took = []
    for _ in range(VISITS):
        answer = second.goto(server.url)
        assert answer is not None
        assert answer.status == 200
        took.append(second.evaluate("() => performance.getEntriesByType('navigation')[0].responseEnd"))
    assert first.evaluate("() => window.counted") is None
    assert max(took) < PROMPT, took
    context.close()
