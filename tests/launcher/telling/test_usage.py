"""Memory and descriptors of real processes."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from contextlib import closing

import psutil
import pytest

from reuseport.launcher.telling.usage import NOTHING, Usage


def test_it_knows_who_was_there_when_it_looked() -> None:
    async def look() -> None:
        with closing(Usage()) as usage:
            assert usage.of(os.getpid()) is NOTHING
            await usage.look([os.getpid(), 2**22 + 1])
            used = usage.of(os.getpid())
            assert used.rss == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
            assert used.open_fds is not None
            assert used.open_fds >= 3
            assert usage.of(2**22 + 1) is NOTHING, "no process has that number"

    asyncio.run(look())


def test_who_comes_later_is_looked_at_again() -> None:
    async def look() -> None:
        with closing(Usage()) as usage:
            await usage.look([os.getpid()])
            await usage.look([os.getpid(), later.pid])
            assert usage.of(later.pid).rss

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as later:
        asyncio.run(look())
        later.communicate(b"\n")


def test_many_who_ask_at_once_share_one_reading() -> None:
    async def look() -> None:
        with closing(Usage()) as usage:
            asking = [asyncio.create_task(usage.look([os.getpid()])) for _ in range(50)]
            await asyncio.sleep(0)
            reading = usage._reading
            assert reading is not None
            asking[0].cancel()
            await asyncio.wait(asking)
            assert reading.done()
            assert not reading.cancelled(), "one who leaves does not take it from the others"
            assert usage.of(os.getpid()).rss

    asyncio.run(look())


def test_what_cannot_be_read_for_lack_of_descriptors_is_nobodys_end() -> None:
    """The callback of a reading is the launcher's own: an error in it would end the launcher."""

    async def look() -> None:
        broken: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
        with closing(Usage()) as usage:
            await usage.look([os.getpid()])  # its thread is there, and psutil
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            try:
                await usage.look([os.getpid(), 1])
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert usage.of(os.getpid()) == NOTHING
            assert not broken

    asyncio.run(look())
