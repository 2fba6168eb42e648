"""Follow what was asked for to its end: done, undone with the reason, or overdue.

The stream is there before the request is sent, and resumes behind the last record when it breaks, so nothing
is missed. A judge knows what the end looks like: it returns the closing sentence, or raises UndoneError.

What came before the request and what after is told by the numbers of records and by the launcher's uptime:
its clock, or ours, may be set back meanwhile.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from reuseport.client.control import PATIENCE, Control, SilentError
from reuseport.client.progress import shown
from reuseport.client.sse import Event
from reuseport.client.text import cleaned
from reuseport.errors import AbsentError, ConfigurationError, OverdueError, UndoneError
from reuseport.instance import Status
from reuseport.settings.units import format_duration

PAUSE = 0.2
"""Seconds before a stream that has ended is opened again."""
FRESH = 0.1
"""Seconds for which a status is given to everybody who asks."""


class Judge(Protocol):
    """One request, and when it is over."""

    @property
    def what(self) -> str:
        """The beginning of a sentence: "the reload to generation 3"."""

    def reached(self) -> tuple[int, int]:
        """So many slots of so many."""

    def concerns(self, record: dict[str, Any]) -> bool:
        """Whether it is a step on the way."""

    def on_record(self, record: dict[str, Any]) -> str | None:
        """Take in one that concerns it."""

    def on_status(self, status: Status) -> str | None:
        """Take in one that is newer than the request."""


def follow(control: Control, after: int, deadline: float) -> Generator[Event]:
    """All events, over as many connections as it takes. Ends at the deadline, raises AbsentError."""
    while time.monotonic() < deadline:
        heard = False
        try:
            with control.stream(after, deadline) as events:
                for event in events:
                    heard = True
                    after = event.id or after
                    yield event
                    if time.monotonic() >= deadline:
                        return
        except SilentError:
            if time.monotonic() >= deadline:
                return
            if not heard:
                raise
        if not heard:
            raise SilentError(f"who listens at {control.path} ends the stream without a word")
        time.sleep(PAUSE)


def wait_for(control: Control, ask: Callable[[Status], Judge], timeout: float | None) -> str:
    """Send the request once the stream is there, and return the closing sentence.

    Raises UndoneError, OverdueError, and AbsentError when there is nobody from the beginning.
    """
    deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
    patient = control.within(timeout or PATIENCE)
    with closing(follow(patient, control.last(), deadline)) as events:
        before = next((event.data for event in events if event.kind == "status"), None)
        heard = time.monotonic()
        if before is None:
            raise OverdueError(f"the launcher did not answer within {_shown(timeout)}")
        asked = _Moment(cast("Status", before)["uptime"] + time.monotonic() - heard, control.last())
        judge = ask(cast("Status", before))
        try:
            with shown(judge.what) as progress:
                for event in events:
                    end = _judge(judge, event, control, asked, progress.say)
                    progress.reached(*judge.reached())
                    if end is not None:
                        return end
        except AbsentError as error:
            raise UndoneError(f"{judge.what}: the launcher went away before the end: {error}") from error
    raise OverdueError(f"{judge.what} is not done after {_shown(timeout)}; it goes on")


@dataclass(frozen=True, slots=True)
class _Moment:
    """When the request was sent: the launcher's uptime, and the number of its newest record."""

    uptime: float
    record: int


def _judge(
    judge: Judge, event: Event, control: Control, asked: _Moment, say: Callable[[str], None]
) -> str | None:
    if event.kind == "status":
        status = cast("Status", event.data)
        return judge.on_status(status) if status["uptime"] >= asked.uptime else None
    record = event.data
    if event.kind != "record" or record["seq"] <= asked.record:
        return None
    if record["kind"] == "stopping":
        raise UndoneError(f"{judge.what}: the server stops")
    if not judge.concerns(record):
        return None
    end = judge.on_record(record)
    if end is not None:
        return end
    say(record["text"])
    # The stream has a status each second; do not make the operator wait for the next one.
    newest = _status_after(control, record["seq"])
    end = None if newest is None else judge.on_status(newest)
    if newest is not None and end is not None:
        # It knows of what the stream has not told yet: that belongs before the end.
        for later in control.events(after=record["seq"])["events"]:
            if judge.concerns(later) and later["seq"] <= newest["last"]:
                say(later["text"])
    return end


def _status_after(control: Control, record: int) -> Status | None:
    """The launcher makes a status ten times a second at most: the first that may be too old."""
    for _ in range(3):
        status = control.status()
        if status["last"] >= record:
            return status
        time.sleep(FRESH)
    return None


def wait_for_exit(control: Control, timeout: float | None) -> None:
    """Ask for a stop, and return when the launcher's process is gone."""
    pid = control.pid()
    if not pid:
        raise ConfigurationError("the launcher is in a pid namespace that we do not see: leave out --wait")
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        raise AbsentError(f"the launcher with pid {pid} is gone already") from None
    try:
        if control.status()["state"] != "stopping":
            control.act("stop")
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise OverdueError(f"the stop is not done after {_shown(timeout)}; it goes on")
    finally:
        os.close(process)


def why_not_started(control: Control, record: dict[str, Any]) -> str:
    """Why a worker could not start, in full: said again, it is only "for the same reason"."""
    if "\n" in record["text"]:
        return cleaned(record["text"])
    with suppress(AbsentError):
        for each in reversed(control.events()["events"]):
            if each["seq"] < record["seq"] and each["kind"] == "could_not_start" and "\n" in each["text"]:
                return cleaned(each["text"])
    return cleaned(record["text"])


def _shown(timeout: float | None) -> str:
    return format_duration(timeout or 0.0)
