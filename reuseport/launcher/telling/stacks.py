"""Where every thread of a worker stands, without ending it: also of one whose event loop does not turn.

The worker has told faulthandler to write its Python stacks into a file of ours when a signal comes: that of
the main thread in the signal handler, whatever the interpreter is doing, those of all as soon as it gets to
it. A memfd and not a pipe: a dump of any length has room, and nobody has to read for the worker to go on. It
cannot tell its end, so the launcher looks until it has been still for a moment.
"""

from __future__ import annotations

import asyncio
import os
import re

from reuseport.launcher.process import Process
from reuseport.signals import GLANCE_SIGNAL, STACKS_SIGNAL

LOOK = 0.02
"""Seconds between two looks at the file."""
STILL = 5
"""Looks without a change after which a dump is complete."""
PATIENCE = 5.0
"""Seconds: longer, and the process is stopped, or waits for a disk."""
MOST = 2**20
"""Bytes of a dump that are shown."""


SOON = 0.2
"""Seconds after which a glance reads what the worker has written: a dump takes a few milliseconds."""

_FRAME = re.compile(r'  File "([^"\n]{1,500})", line (\d{1,9}) in ([^\n]{1,200})')


def begin_glance(process: Process) -> None:
    """Ask the worker for its stacks, to be read SOON. Spoils a dump that is being taken: it will be empty."""
    os.ftruncate(process.stacks, 0)
    os.lseek(process.stacks, 0, os.SEEK_SET)
    process.send(GLANCE_SIGNAL)


def end_glance(process: Process) -> str:
    """What its main thread executes, in a few words; empty if it did not say."""
    return innermost(os.pread(process.stacks, MOST, 0).decode(errors="replace"))


def innermost(stacks: str) -> str:
    """The innermost frame of the main thread, which faulthandler lists last; empty where there is none.

    What a worker writes there may be anything: it is one short line here, in printable ASCII.
    """
    _, _, main = stacks.rpartition("(most recent call first):")
    frame = _FRAME.search(main)
    if frame is None:
        return ""
    file, line, function = frame.groups()
    words = f"{function} ({file[-100:]}:{line})"
    return "".join(character if " " <= character <= "~" else "?" for character in words)


class Dumps:
    """Takes one dump at a time: whoever asks meanwhile waits."""

    def __init__(self) -> None:
        self._taking = asyncio.Lock()

    async def take(self, process: Process) -> str:
        """The stacks, innermost call first; empty if the worker wrote nothing within PATIENCE.

        When it dies meanwhile: what it had written by then.
        """
        async with self._taking:
            file = os.dup(process.stacks)  # the worker's end closes the original
            try:
                os.ftruncate(file, 0)
                # Its position is the worker's, too: one open file description.
                os.lseek(file, 0, os.SEEK_SET)
                process.send(GLANCE_SIGNAL)
                process.send(STACKS_SIGNAL)
                await _until_still(file)
                return os.pread(file, MOST, 0).decode(errors="replace")
            finally:
                os.close(file)


async def _until_still(file: int) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    size, still = 0, 0
    while still < STILL and loop.time() < deadline:
        await asyncio.sleep(LOOK)
        before, size = size, os.fstat(file).st_size
        still = still + 1 if size and size == before else 0
