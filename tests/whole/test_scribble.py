"""A worker that was taken over writes anything anywhere on the scoreboard: the launcher goes on as ever.

What it can do to its siblings by that is in the manual, reuseport/manual/security.md.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from reuseport.scoreboard import SLOT_WORDS
from tests.admin.test_description import conforms
from tests.admin.visits import Served, serve
from tests.conftest import launching
from tests.whole.lines import Line, wait_until

SLOTS = 2
STATUS = {"$ref": "#/components/schemas/Status"}
LARGEST = 2**64 - 1

WORDS = st.sampled_from([0, 1, 2**53 + 1, 2**63, LARGEST]) | st.integers(0, LARGEST)
# Beyond the rows of our slots there are those that nobody serves yet.
PLACES = st.integers(0, SLOTS * SLOT_WORDS - 1) | st.integers(0, 4 * SLOTS * SLOT_WORDS)


@pytest.fixture(scope="module", params=["auto", "hash"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("scribbled")
    with launching(directory) as launch:
        arguments = ("--balance", request.param, "--no-access-log")
        yield serve(launch, directory, *arguments, app="scribbler:app", workers=SLOTS)


def looks_well(served: Served) -> None:
    """All that is told can be told, and is as described."""
    conforms(served.status(), STATUS)
    assert served.ask("/readyz").status in (200, 503)
    text = served.ask("/metrics").body.decode()
    assert all(
        sample.value >= 0 for family in text_string_to_metric_families(text) for sample in family.samples
    )
    assert "Traceback" not in "\n".join(served.server.lines)


@settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(PLACES, WORDS), max_size=40))
def test_any_words_at_any_place(served: Served, stores: list[tuple[int, int]]) -> None:
    with Line(served.server.port) as line:
        text = ",".join(f"{place}:{value}" for place, value in stores)
        assert line.ask(f"/scribble?stores={text}").status == 200
    looks_well(served)


def test_supervision_probes_and_stop_go_on_under_a_flood(tmp_path: Path) -> None:
    with launching(tmp_path) as launch:
        served = serve(launch, tmp_path, "--no-access-log", app="scribbler:app", workers=SLOTS)
        server = served.server
        for port in [server.port] * 4:
            with Line(port) as line:
                line.ask("/flood?s=3")
        for _ in range(20):
            looks_well(served)
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.workers()[0], signal.SIGKILL)
        wait_until(lambda: sum(slot["restarts"] for slot in served.status()["slots"]) > 0)
        wait_until(lambda: served.status()["ready"] == SLOTS, lambda: server.output)
        assert sum(slot["implausible"] for slot in served.status()["slots"]) > 0
        server.wait_for_first(r"WARNING .*figures of slot \d are not believed")
        assert served.post("/reload").status == 202
        wait_until(lambda: served.status()["reloads"]["done"] == 1, lambda: server.output)
        looks_well(served)
        assert server.stop() == 0


def test_nobody_takes_the_memory_away_from_the_others(served: Served) -> None:
    """A file that shrinks under a mapping is SIGBUS for whoever looks there."""
    with Line(served.server.port) as line:
        came_to = line.ask("/resize").who
    # In a file punching a hole clears words, which a worker can do anyway; a BPF array knows none of these.
    assert came_to.pop("punch") in ("done", "ENODEV", "EOPNOTSUPP", "EBADF", "ESPIPE")
    assert "done" not in came_to.values(), came_to
    looks_well(served)
    with Line(served.server.port) as line:
        assert line.ask().status == 200
