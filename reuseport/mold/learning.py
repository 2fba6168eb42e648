"""What each worker would find out once, and all of them the same: found out in the mold.

CPython counts references in the objects themselves, so whatever a worker executes makes pages its own that it
had shared with the mold: what is found out here costs memory once, and not in each worker (bench/README.md).
"""

from __future__ import annotations

import logging
from asyncio import iscoroutine

from reuseport import packets
from reuseport.messages import TO_WORKER
from reuseport.mold import title


def learn() -> None:
    """Once, when all is imported that is to be shared."""
    title.where()
    packets.learn(TO_WORKER)
    # Whether it is a mapping, or a coroutine: abstract classes ask about each type once.
    for argument in (0, ""):
        logging.LogRecord("", logging.INFO, "", 0, "", (argument,), None)
    iscoroutine(learn)
