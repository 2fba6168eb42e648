"""A callback of the launcher's own that fails: told, whatever it has done before, and never swallowed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator

import pytest

from reuseport.launcher.guarded import GuardedLoop


class Turning:
    """A guarded loop with the pipe that wakes it, and what has failed."""

    def __init__(self, bare: asyncio.AbstractEventLoop) -> None:
        self.errors: list[Exception] = []
        self.bare = bare
        self.loop = GuardedLoop(bare, self.failed)
        self.reading, self.writing = os.pipe()

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        self.bare.stop()


@pytest.fixture
def turning() -> Iterator[Turning]:
    with contextlib.closing(asyncio.new_event_loop()) as bare:
        turning = Turning(bare)
        yield turning
        bare.remove_reader(turning.reading)
        os.close(turning.reading)
        os.close(turning.writing)


def test_a_callback_that_has_removed_its_own_reader_before_it_fails(turning: Turning) -> None:
    def on_readable() -> None:
        turning.loop.remove_reader(turning.reading)
        raise ValueError("a defect")

    turning.loop.add_reader(turning.reading, on_readable)
    os.write(turning.writing, b"!")
    turning.bare.run_forever()
    assert [str(error) for error in turning.errors] == ["a defect"]


def fail() -> None:
    raise ValueError("a defect")


def test_every_way_into_the_loop_is_guarded(turning: Turning) -> None:
    ways: dict[str, Callable[[], object]] = {
        "soon": lambda: turning.loop.call_soon(fail),
        "later": lambda: turning.loop.call_later(0.0, fail),
        "at": lambda: turning.loop.call_at(turning.loop.time(), fail),
        "from another thread": lambda: turning.loop.call_soon_threadsafe(fail),
        "writable": lambda: turning.loop.add_writer(turning.writing, fail),
    }
    for way in ways.values():
        way()
        turning.bare.run_forever()
    turning.loop.remove_writer(turning.writing)
    assert len(turning.errors) == len(ways)


def test_a_look_that_fails_is_told_once_and_brings_nothing(
    turning: Turning, caplog: pytest.LogCaptureFixture
) -> None:
    assert turning.loop.attempt(lambda: 7) == 7
    for _ in range(3):
        assert turning.loop.attempt(fail) is None
    assert [record.getMessage() for record in caplog.records] == ["defect in the launcher, which goes on"]
    assert turning.errors == []
