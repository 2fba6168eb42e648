"""Server-sent events: a status each second, records at once, nothing lost or told twice on the way back."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reuseport.admin.feed import MOST
from tests.admin.visits import Served, Visit, request, serve
from tests.conftest import Launch
from tests.whole.lines import wait_until

Events = Iterator[tuple[str, int | None, Any]]


@contextlib.contextmanager
def stream(served: Served, query: str = "", headers: dict[str, str] | None = None) -> Iterator[Events]:
    """Its events."""
    with Visit(served.admin) as visit:
        visit.send(request(f"/api/v1/stream{query}", headers=headers))
        status, _ = visit.head()
        assert status == 200
        yield visit.events()


def records(events: Events, number: int) -> list[int]:
    """The numbers of the next so many records."""
    only = (data["seq"] for name, _, data in events if name == "record")
    return list(itertools.islice(only, number))


def refuse(served: Served, times: int) -> None:
    """So many records."""
    with Visit(served.control) as visit:
        for _ in range(times):
            visit.send(request("/api/v1/scale", "POST", body=b'{"workers": 1000}'))
            assert visit.answer().status == 409


def test_a_status_at_once_and_each_second(served: Served) -> None:
    begun = time.monotonic()
    with stream(served) as events:
        statuses = list(itertools.islice((data for name, _, data in events if name == "status"), 4))
    assert 2.5 < time.monotonic() - begun < 20
    assert [status["pid"] for status in statuses] == [served.server.pid] * 4
    times = [status["now"] for status in statuses]
    assert all(0.5 < later - earlier < 10 for earlier, later in itertools.pairwise(times))


def test_a_record_comes_at_once_with_its_number(served: Served) -> None:
    with stream(served) as events:
        assert next(events)[0] == "status"
        refuse(served, 1)
        _, number, data = next(event for event in events if event[0] == "record")
    last = served.ask("/api/v1/events?limit=1024").json["events"][-1]
    assert (number, data) == (last["seq"], last)
    assert data["kind"] == "refused"


@pytest.mark.parametrize("by", ["Last-Event-ID", "after"])
def test_coming_back_nothing_is_lost_or_told_twice(served: Served, by: str) -> None:
    """Also of what one reader may not let wait."""
    last = served.ask("/api/v1/events").json["last"]
    refuse(served, 300)
    query, headers = ("", {by: str(last)}) if by == "Last-Event-ID" else (f"?after={last}", None)
    with stream(served, query, headers) as events:
        refuse(served, 5)
        assert records(events, 305) == list(range(last + 1, last + 306))


def test_the_header_comes_before_the_query(served: Served) -> None:
    """A page that was opened with `after` comes back with both."""
    last = served.ask("/api/v1/events").json["last"]
    with stream(served, "?after=0", {"Last-Event-ID": str(last)}) as events:
        refuse(served, 1)
        assert records(events, 1) == [last + 1]


def test_a_number_that_is_none(served: Served) -> None:
    answer = served.ask("/api/v1/stream", headers={"Last-Event-ID": "x"})
    assert (answer.status, "after is a whole number" in answer.error) == (400, True)


def test_records_that_are_lost_are_counted(launch: Launch, tmp_path: Path) -> None:
    served = serve(launch, tmp_path, workers=1)
    before = served.ask("/api/v1/events").json["last"]
    refuse(served, 1100)
    told = served.ask("/api/v1/events?after=2&limit=3").json
    assert told["last"] == before + 1100
    assert told["lost"] == told["last"] - 1024 - 2
    assert [record["seq"] for record in told["events"]] == [told["lost"] + 3 + i for i in range(3)]


def test_one_reader_too_many(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(MOST):
            next(stack.enter_context(stream(served)))
        answer = served.ask("/api/v1/stream")
        assert (answer.status, "close a page" in answer.error) == (503, True)
        assert served.ask("/api/v1/status").status == 200
    wait_until(lambda: served.ask("/api/v1/stream", "HEAD").status == 200)
    with stream(served) as events:
        assert next(events)[0] == "status"


def test_a_stop_ends_every_stream(launch: Launch, tmp_path: Path) -> None:
    served = serve(launch, tmp_path, workers=1)
    with stream(served) as events:
        next(events)
        assert served.post("/stop").status == 202
        rest = list(events)  # ends with the last chunk: in good order
    assert next(data["kind"] for name, _, data in rest if name == "record") == "stopping"
    assert served.server.wait() == 0
    assert served.server.count("Traceback") == 0
