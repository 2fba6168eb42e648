"""The soft limit goes up to where the hard one is, and not without an end; clients get what is left."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from reuseport.kernel.descriptors import ENOUGH, MOST, granted, have_enough, to_spare


@pytest.mark.parametrize(
    ("soft", "hard", "becomes"),
    [
        (1024, 524_288, MOST),
        (1024, 4096, 4096),
        (64, 64, 64),
        (1024, -1, MOST),
        (-1, -1, -1),
        (1 << 20, 1 << 20, 1 << 20),
    ],
)
def test_the_soft_limit_goes_up(soft: int, hard: int, becomes: int) -> None:
    assert granted(soft, hard) == becomes


def test_what_is_free_is_for_clients_but_for_a_quarter() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, before[1]))
        assert 740 - used <= to_spare() <= 760 - used
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, before[1]))
        assert to_spare() == 1
        assert have_enough() == granted(used + 3, before[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (ENOUGH, before[1]))
        assert to_spare() == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
