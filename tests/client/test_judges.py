"""When a request is over: fed with records and statuses in the orders that can be."""

from __future__ import annotations

from typing import Any

import pytest

from reuseport.client.judges import Drain, Reload, Restart, Scale
from reuseport.errors import UndoneError
from tests.admin.statuses import slot_status, status


def record(
    kind: str,
    slot: int | None = None,
    generation: int | None = None,
    text: str = "it happened",
    cause: str | None = None,
) -> dict[str, Any]:
    return {"kind": kind, "slot": slot, "generation": generation, "text": text, "cause": cause}


# ── reload ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reload_counts_the_slots_of_its_own_generation() -> None:
    judge = Reload(3, status(4))
    assert judge.reached() == (0, 4)
    for other in (
        record("ready", 0, 2),
        record("reload_done", generation=2),
        record("reload_aborted", generation=2),
    ):
        assert not judge.concerns(other)
    for slot in (0, 1, 1):
        assert judge.concerns(record("ready", slot, 3))
        assert judge.on_record(record("ready", slot, 3)) is None
    assert judge.reached() == (2, 4)
    assert judge.on_record(record("reload_done", generation=3)) == "generation 3 serves in every slot"


def test_a_reload_that_waits_for_another_is_not_taken_for_aborted() -> None:
    judge = Reload(3, status(4))
    assert judge.on_status(status(4, generation=1)) is None  # asked for a moment ago
    assert judge.on_status(status(4, generation=1, reload={"generation": 2, "done": 1, "of": 4})) is None
    assert judge.on_status(status(4, generation=2, reload={"generation": 3, "done": 1, "of": 5})) is None
    assert judge.reached() == (0, 5)


def test_a_reload_whose_end_was_missed_is_told_by_the_status() -> None:
    running = status(4, generation=2, reload={"generation": 3, "done": 1, "of": 4})
    done, aborted = Reload(3, status(4)), Reload(3, status(4))
    for judge in (done, aborted):
        assert judge.on_status(running) is None
    assert done.on_status(status(4, generation=3)) == "generation 3 serves in every slot"
    with pytest.raises(UndoneError, match="generation 3 was aborted"):
        aborted.on_status(status(4, generation=2))


def test_an_aborted_reload_remembers_why_a_worker_did_not_start() -> None:
    judge = Reload(3, status(4))
    why = record("could_not_start", 0, text="worker in slot 0 could not start: Traceback\nKeyError")
    assert not judge.concerns(why)
    with pytest.raises(UndoneError, match="aborted: it died"):
        judge.on_record(
            record("reload_aborted", generation=3, text="reload to generation 3 aborted: it died")
        )
    assert judge.reason is why


@pytest.mark.parametrize(
    "judge", [Reload(3, status(2)), Scale(3, status(2)), Drain(1), Restart(1, status(2))]
)
def test_nothing_is_done_by_a_server_that_stops(judge: Reload | Scale | Drain | Restart) -> None:
    with pytest.raises(UndoneError, match="the server stops"):
        judge.on_status(status(2, state="stopping"))


# ── scale, drain, restart ─────────────────────────────────────────────────────────────────────────────


def test_scaling_up_is_done_when_the_new_ones_are_ready() -> None:
    judge = Scale(3, status(1))
    assert judge.on_status(status(1)) is None  # not yet heard
    assert judge.on_status(status([slot_status(0), slot_status(1)], workers=3)) is None
    assert judge.reached() == (1, 2)
    assert judge.on_record(record("crashed", 0)) is None  # it served before: no reason to give up
    starting = slot_status(2, state="starting")
    assert judge.on_status(status([slot_status(0), slot_status(1), starting])) is None
    with pytest.raises(UndoneError, match="goes on trying, but it is broken"):
        judge.on_record(record("could_not_start", 2, text="it is broken"))
    assert judge.on_status(status(3)) == "3 workers are in service"


def test_scaling_down_is_done_when_the_others_are_gone() -> None:
    judge = Scale(1, status(2))
    draining = slot_status(1, wanted=False, state="draining")
    assert judge.on_status(status([slot_status(0), draining], workers=1)) is None
    empty = slot_status(1, wanted=False, state="empty", pid=None)
    assert judge.on_status(status([slot_status(0), empty], workers=1)) == "1 worker is in service"


def test_scaling_ends_when_somebody_else_scales() -> None:
    judge = Scale(3, status(1))
    assert judge.on_status(status(2, workers=3)) is None
    with pytest.raises(UndoneError, match="meanwhile somebody else scaled to 5"):
        judge.on_status(status(2, workers=5))


def test_a_slot_is_drained_when_its_worker_is_gone() -> None:
    judge = Drain(1)
    assert judge.on_status(status(2)) is None
    late = [{"pid": 9, "generation": 1, "state": "draining"}]
    assert (
        judge.on_status(
            status([slot_status(0), slot_status(1, state="drained", pid=None, predecessors=late)])
        )
        is None
    )
    assert judge.on_status(status([slot_status(0), slot_status(1, state="drained", pid=None)])) is not None
    with pytest.raises(UndoneError, match="put it into service again"):
        judge.on_record(record("restarted", 1))


def test_a_restart_is_done_when_another_worker_is_ready() -> None:
    before = status(2)
    judge = Restart(1, before)
    old = before["slots"][1]["pid"]
    coming = {"pid": 99, "generation": 2, "state": "starting"}
    assert judge.on_status(before) is None
    assert judge.on_status(status([slot_status(0), slot_status(1, pid=old, successor=coming)])) is None
    # One that was draining already may be killed; that is no failure of the new one.
    assert judge.on_record(record("killed", 1, cause="graceful_timeout")) is None
    done = judge.on_status(status([slot_status(0), slot_status(1, pid=99)]))
    assert done == "slot 1 is ready, with the new worker 99"
    with pytest.raises(UndoneError, match="goes on trying, but"):
        judge.on_record(record("killed", 1, cause="crash"))
