"""What the service manager is told, and in which order, whatever happens and whatever is lost."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.launcher.deciding.slots import Policy
from reuseport.launcher.telling.announcing import (
    EXTEND_EVERY,
    LONGEST_STATUS,
    Facts,
    Rules,
    State,
    Told,
    announce,
    sentence,
    start_limit,
)

RULES = Rules(min_ready=2)
STARTING = Facts("starting", ready=0, workers=4, generation=1, left=4)
SERVING = Facts("serving", ready=4, workers=4, generation=1, left=4)
RELOADING = replace(SERVING, stage="reloading", reload=(2, 1, 4), begun=1, left=5)
RELOADED = replace(SERVING, generation=2, begun=1)
STOPPING = Facts("stopping", ready=0, workers=4, generation=1, left=3)


class Manager:
    """Hears every datagram, or none while it is `deaf`."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.told = Told()
        self.heard: list[str] = []
        self.now = 100.0
        self.deaf = False

    def look(self, facts: Facts, seconds: float = 0.0) -> list[str]:
        """What comes now, without the sentences."""
        self.now += seconds
        came: list[str] = []
        for _ in range(9):
            lines, after = announce(self.told, facts, self.rules, self.now)
            if lines and self.deaf:
                break
            self.told = after
            came += [line for line in lines if not line.startswith("STATUS=")]
            if not lines:
                break
        else:
            pytest.fail("it never ends")
        self.heard += came
        return came


def states(lines: list[str]) -> list[str]:
    return [line for line in lines if line in ("READY=1", "RELOADING=1", "STOPPING=1")]


def test_ready_is_told_once_and_when_enough_workers_serve() -> None:
    manager = Manager()
    assert states(manager.look(STARTING)) == []
    assert states(manager.look(replace(STARTING, ready=1))) == []
    assert states(manager.look(replace(STARTING, ready=2))) == ["READY=1"]
    assert states(manager.look(SERVING)) == []
    # Who serves less later is still there: systemd has no word for that, probes have.
    assert states(manager.look(replace(SERVING, ready=0))) == []


def test_a_reload_is_told_with_its_time_and_ends_with_ready() -> None:
    manager = Manager()
    manager.look(SERVING)
    assert manager.look(RELOADING, 0.5)[:2] == ["RELOADING=1", "MONOTONIC_USEC=100500000"]
    assert states(manager.look(replace(RELOADING, reload=(2, 3, 4)))) == []
    assert states(manager.look(RELOADED)) == ["READY=1"]


def test_an_aborted_reload_ends_with_ready_too_and_says_why() -> None:
    manager = Manager()
    manager.look(SERVING)
    manager.look(RELOADING)
    aborted = replace(SERVING, begun=1, failed="worker in slot 0 could not start")
    assert states(manager.look(aborted)) == ["READY=1"]
    assert sentence(aborted, RULES).endswith("the last reload was aborted: worker in slot 0 could not start")


def test_a_reload_that_is_over_before_we_look_is_told_all_the_same() -> None:
    manager = Manager()
    manager.look(SERVING)
    assert states(manager.look(RELOADED)) == ["RELOADING=1", "READY=1"]


def test_a_reload_behind_another_has_a_time_of_its_own() -> None:
    """systemd may have sent its SIGHUP after the first one began, and takes no older word for an answer."""
    manager = Manager()
    manager.look(SERVING)
    manager.look(RELOADING)
    again = manager.look(replace(RELOADING, reload=(3, 0, 4), generation=2, begun=2), 3.0)
    assert again[:2] == ["RELOADING=1", "MONOTONIC_USEC=103000000"]
    assert states(manager.look(replace(SERVING, generation=3, begun=2))) == ["READY=1"]


def test_a_command_before_the_reload_is_part_of_it_and_has_no_end_that_we_know() -> None:
    manager = Manager()
    manager.look(SERVING)
    before = replace(SERVING, begun=1, before=True)
    assert manager.look(before)[0] == "RELOADING=1"
    assert sentence(before, RULES).startswith("before a reload: --before-reload runs; 4 of 4")
    assert manager.look(before, 60.0) == []
    # It fails, and the next one brings the same generation.
    assert states(manager.look(replace(SERVING, begun=1, failed="it exited with status 1"))) == ["READY=1"]
    assert states(manager.look(replace(before, begun=2))) == ["RELOADING=1"]
    assert states(manager.look(replace(RELOADING, begun=3))) == ["RELOADING=1"]
    assert states(manager.look(replace(RELOADED, begun=3))) == ["READY=1"]


def test_what_is_lost_comes_later() -> None:
    manager = Manager()
    manager.deaf = True
    manager.look(SERVING)
    manager.look(RELOADING)
    manager.look(RELOADED)
    manager.deaf = False
    assert states(manager.look(RELOADED)) == ["READY=1"]
    assert manager.told.begun == 1


def test_more_time_is_asked_for_while_a_start_may_still_succeed() -> None:
    manager = Manager(Rules(min_ready=2, start_by=112.0))
    assert manager.look(STARTING) == ["EXTEND_TIMEOUT_USEC=15000000"]
    assert manager.look(STARTING, EXTEND_EVERY - 0.1) == []
    assert manager.look(STARTING, 0.1) == ["EXTEND_TIMEOUT_USEC=15000000"]
    assert manager.look(STARTING, EXTEND_EVERY) == ["EXTEND_TIMEOUT_USEC=15000000"]
    # Workers that fail again and again could go on for ever.
    assert manager.look(STARTING, EXTEND_EVERY) == []
    assert Manager(Rules(min_ready=1)).look(STARTING) == []


def test_more_time_is_asked_for_while_a_stop_has_an_end() -> None:
    manager = Manager()
    manager.look(SERVING)
    assert manager.look(SERVING, 60.0) == []
    # At once: the manager's limit may be shorter than what is left of our rhythm.
    assert manager.look(STOPPING) == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000"]
    assert manager.look(STOPPING) == []
    assert manager.look(STOPPING, EXTEND_EVERY) == ["EXTEND_TIMEOUT_USEC=15000000"]
    # A lifespan shutdown without a limit of ours: TimeoutStopSec= is the one.
    assert manager.look(replace(STOPPING, patient=False), EXTEND_EVERY) == []


def test_signs_of_life_come_twice_in_an_interval() -> None:
    manager = Manager(Rules(min_ready=1, watchdog=10.0))
    assert "WATCHDOG=1" in manager.look(SERVING)
    assert manager.told.next_at(manager.rules) == manager.now + 5.0
    assert manager.look(SERVING, 4.9) == []
    assert manager.look(SERVING, 0.1) == ["WATCHDOG=1"]


def test_nothing_is_due_where_nothing_happens() -> None:
    manager = Manager()
    manager.look(SERVING)
    assert manager.told.next_at(RULES) == float("inf")


def test_how_long_a_start_can_take() -> None:
    policy = Policy(workers=9, capacity=9, starts_at_once=4, startup_timeout=60.0, kill_grace=5.0)
    assert start_limit(policy) == 3 * 65.0
    assert start_limit(replace(policy, startup_timeout=0.0)) is None


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (STARTING, "0 of 4 workers are ready, 2 must be"),
        (SERVING, "4 of 4 workers are ready, generation 1"),
        (replace(SERVING, workers=1, ready=1), "1 of 1 worker is ready, 2 must be"),
        (RELOADING, "reloading to generation 2: 1 of 4 slots; 4 of 4 workers are ready"),
        (STOPPING, "stopping: 3 workers are left"),
        (replace(STOPPING, left=1), "stopping: 1 worker is left"),
    ],
)
def test_the_sentence(facts: Facts, text: str) -> None:
    assert sentence(facts, RULES) == text


def test_a_traceback_is_no_assignment() -> None:
    failed = replace(SERVING, failed="Traceback:\nMAINPID=1\n" + "x" * 9_000)
    (status,) = [line for line in announce(Told(), failed, RULES, 0.0)[0] if line.startswith("STATUS=")]
    assert "\n" not in status
    assert r"\nMAINPID=1" in status
    assert len(status) < 2 * LONGEST_STATUS


FACTS = st.builds(
    Facts,
    stage=st.sampled_from(["starting", "serving", "reloading"]),
    ready=st.integers(0, 4),
    workers=st.just(4),
    generation=st.just(1),
    left=st.integers(0, 9),
    patient=st.booleans(),
)


@given(st.lists(st.tuples(FACTS, st.booleans(), st.booleans(), st.floats(0, 10)), max_size=40))
def test_in_whatever_order_the_manager_understands_it(
    story: list[tuple[Facts, bool, bool, float]],
) -> None:
    """RELOADING only after READY, READY after each, STOPPING last and once; the end is what is true."""
    manager = Manager(Rules(min_ready=2, watchdog=4.0))
    begun = 0
    facts = STARTING
    for base, reloads, lost, seconds in story:
        # Some are over before we look.
        begun += reloads or seconds > 5
        facts = replace(base, begun=begun, reload=(begun + 1, 0, 4) if reloads else None)
        manager.deaf = lost
        manager.look(facts, seconds)
    manager.deaf = False
    manager.look(facts)
    settled = manager.told.state
    heard = states(manager.heard)
    assert all(after != before for before, after in itertools.pairwise(heard) if after == "READY=1")
    assert heard[:1] in ([], ["READY=1"])
    if facts.ready >= 2:
        assert settled is (State.READY if facts.reload is None else State.RELOADING)
    manager.look(STOPPING)
    assert states(manager.heard)[-1] == "STOPPING=1"
    assert manager.heard.count("STOPPING=1") == 1
