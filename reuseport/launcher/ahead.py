"""The first mold, there before the launcher has imported what it needs itself: the two do so side by side.

It imports our own code and waits. What is refused from then on ends it: it has not touched anything, nor seen
anything of the application's. Not as another user (--user), whose way to the interpreter is looked at first
(host/identity.py): then the mold is executed when workers are.

Few imports, and on purpose: what this module needs is what the mold has to wait for.
"""

from __future__ import annotations

import contextlib
import select
import signal
from collections.abc import Iterator

from reuseport.launcher.execution import refuse_what_does_not_fit
from reuseport.launcher.headstart import FIRST_GENERATION, MOMENT, HeadStart
from reuseport.launcher.mold import Mold
from reuseport.settings.table import Settings


@contextlib.contextmanager
def first_mold(settings: Settings, begun: HeadStart | None = None) -> Iterator[Mold | None]:
    """The first generation's, if it can be had so early. At the end it is gone. Raises ConfigurationError."""
    refuse_what_does_not_fit(settings)
    if not settings.mold or settings.user is not None or settings.group is not None:
        if begun is not None:
            begun.end()
        yield None
        return
    try:
        mold = Mold(FIRST_GENERATION, settings, None, begun)
    except OSError:
        yield None  # there will be another try, and whatever is wrong is told then
        return
    try:
        yield mold
    finally:
        if not mold.execution.closed:
            mold.channel.close()
            mold.execution.send(signal.SIGKILL)
            ending = select.poll()
            ending.register(mold.execution.pidfd, select.POLLIN)
            ending.poll(1000 * MOMENT)
            mold.execution.reap_now()
            mold.execution.close()
