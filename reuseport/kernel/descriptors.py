"""How many descriptors a process may open (RLIMIT_NOFILE), and how many of them are left for clients.

A login shell and systemd give a process 1,024, the soft limit, and let it have many more, the hard one,
because select(2) cannot deal with more than that. So the soft limit goes up: who still uses select fails only
where it would have got no descriptor at all. What the application starts inherits it, so it does not go up
without an end: there are programs that close each possible descriptor before they begin.
"""

from __future__ import annotations

import resource
from pathlib import Path

MOST = 65_536
"""To which the soft limit goes up."""
ENOUGH = 4096
"""From here on nobody is made to wait for a descriptor: memory ends first, or nearly."""
LEAST = 16
"""Those that are not for clients, however few there are."""
OWN = 32
"""A worker's before it serves, where the kernel does not say."""


def granted(soft: int, hard: int) -> int:
    """What the soft limit becomes. As getrlimit(2) has them: -1 is no limit."""
    if soft == resource.RLIM_INFINITY or soft >= MOST:
        return soft
    return MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)


def have_enough() -> int:
    """For this process and all that it starts from now on; how many these are, -1 for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = granted(soft, hard)
    if limit != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def few(limit: int) -> bool:
    """Whether clients may have to wait for a descriptor."""
    return 0 <= limit < ENOUGH


def to_spare() -> int:
    """Descriptors for clients, where they are few: what is free, but for a quarter, which the application may
    want, and siblings, whose listeners we may have to serve. 0: there are enough.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not few(limit):
        return 0
    try:
        used = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        used = OWN
    return max(1, limit - used - max(LEAST, limit // 4))
