"""The supervisor in plain sentences: one sequence of events each, and what must follow."""

from __future__ import annotations

import math
import random
import re

import pytest

from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.conversation import Said
from reuseport.launcher.deciding.events import Action, Blame, Event, Reason
from reuseport.launcher.deciding.phases import Phase
from reuseport.launcher.deciding.slots import Policy, Worker
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.messages import (
    Drain,
    Foster,
    Leaving,
    LimitReached,
    Listens,
    Ready,
    ShuttingDown,
    ToLauncher,
    ToWorker,
    Unfoster,
)

MOST_SECONDS = 10_000.0


class Play:
    """A supervisor with a clock. Workers are named by their numbers: the first spawned is 1."""

    def __init__(self, policy: Policy, seed: int = 1) -> None:
        self.policy = policy
        self.supervisor = Supervisor(policy, random.Random(seed))
        self.now = 1000.0
        self.actions: list[Action] = []
        """Everything decided so far."""
        self.beats = 0
        self.silent: set[int] = set()
        self.idle: set[int] = set()

    def feed(self, event: Event, late: float = 0.0) -> list[Action]:
        actions = self.supervisor.handle(event, self.now, late)
        self.actions += actions
        return actions

    def begin(self) -> Play:
        self.feed(ev.Begin())
        return self

    def served(self) -> Play:
        """Everybody who starts becomes ready, until nobody starts."""
        while starting := [w.number for w in self.workers() if w.phase is Phase.STARTING]:
            self.ready(*starting)
        return self

    def ready(self, *numbers: int) -> list[Action]:
        """Each says that it listens, unless it has, and then that it is ready."""
        actions: list[Action] = []
        for number in numbers:
            if self.supervisor.workers[number].said is Said.NOTHING:
                actions += self.hear(number, Listens())
            actions += self.hear(number, Ready())
        return actions

    def hear(self, number: int, message: ToLauncher) -> list[Action]:
        return self.feed(ev.Heard(number, message))

    def exits(self, number: int, blame: Blame = Blame.APPLICATION) -> list[Action]:
        self.silent.discard(number)
        return self.feed(ev.WorkerExited(number, f"worker {number} is gone", blame))

    def tick(self, seconds: float = 0.0, late: float = 0.0) -> list[Action]:
        """Time goes on, then one look at the heartbeats."""
        self.now += seconds
        self.beats += 1
        pulses = {w.number: 0 if w.number in self.silent else self.beats for w in self.workers()}
        loads = {number: int(number not in self.idle) for number in pulses}
        return self.feed(ev.Tick(pulses, loads), late)

    def wait(self, seconds: float) -> list[Action]:
        """Time goes on in steps of a quarter second, as in the launcher."""
        actions: list[Action] = []
        for _ in range(round(seconds / 0.25)):
            actions += self.tick(0.25)
        return actions

    def seconds_until(self, kind: type[Action]) -> float:
        """Follow `next_deadline` and nothing else until such an action comes; how long that took."""
        start = self.now
        while self.now - start < MOST_SECONDS:
            due = self.supervisor.next_deadline()
            assert due is not None, f"nothing is planned, so no {kind.__name__} will ever come"
            assert due > self.now
            if any(isinstance(action, kind) for action in self.tick(due - self.now)):
                return self.now - start
        raise AssertionError(f"no {kind.__name__} within {MOST_SECONDS} s")

    def workers(self) -> list[Worker]:
        return list(self.supervisor.workers.values())

    def phase(self, number: int) -> Phase:
        return self.supervisor.workers[number].phase

    def generations(self) -> dict[int, int]:
        """The generation that serves, by slot."""
        serving = {n: slot.serving() for n, slot in self.supervisor.slots.items()}
        return {n: worker.generation for n, worker in serving.items() if worker is not None}


def policy(workers: int = 2, **changes: float) -> Policy:
    values: dict[str, float] = {
        "capacity": workers + 4,
        "starts_at_once": 4,
        "graceful_timeout": 8.0,
        "startup_timeout": 60.0,
        "worker_timeout": 30.0,
        **changes,
    }
    return Policy(workers=workers, **values)  # type: ignore[arg-type] # two of them are whole


def spawns(actions: list[Action]) -> list[tuple[int, Reason]]:
    """(slot, reason) of each worker that was started."""
    return [(action.slot, action.reason) for action in actions if isinstance(action, ev.Spawn)]


def told(actions: list[Action]) -> list[tuple[int, ToWorker]]:
    """Which worker was told what."""
    return [(action.worker, action.message) for action in actions if isinstance(action, ev.Tell)]


def drained(actions: list[Action]) -> list[int]:
    return [worker for worker, message in told(actions) if isinstance(message, Drain)]


def killed(actions: list[Action]) -> list[int]:
    return [action.worker for action in actions if isinstance(action, ev.Kill)]


def aborted(actions: list[Action]) -> list[int]:
    return [action.worker for action in actions if isinstance(action, ev.Abort)]


def terminated(actions: list[Action]) -> list[int]:
    return [action.worker for action in actions if isinstance(action, ev.Terminate)]


def codes(actions: list[Action]) -> list[int]:
    return [action.code for action in actions if isinstance(action, ev.Exit)]


def texts(actions: list[Action]) -> str:
    return "\n".join(action.text for action in actions if isinstance(action, ev.Report))


# ── the first start ───────────────────────────────────────────────────────────────────────────────────


def test_the_first_start_is_staggered() -> None:
    play = Play(policy(5, starts_at_once=2)).begin()
    assert spawns(play.actions) == [(0, Reason.START), (1, Reason.START)]
    assert spawns(play.ready(2)) == [(2, Reason.START)]
    assert spawns(play.ready(1)) == [(3, Reason.START)]
    assert spawns(play.ready(3, 4)) == [(4, Reason.START)]
    assert "all 5 workers are ready" not in texts(play.actions)
    assert "all 5 workers are ready" in texts(play.ready(5))


def test_nothing_starts_before_begin() -> None:
    play = Play(policy())
    play.tick(1.0)
    assert not spawns(play.actions)
    assert spawns(play.feed(ev.Begin()))


@pytest.mark.parametrize("blame", list(Blame))
def test_the_first_failure_waits_for_the_others_and_its_blame_is_the_exit_code(blame: Blame) -> None:
    play = Play(policy(4, starts_at_once=2)).begin()
    assert not play.exits(1, blame)[1:], "neither a third start nor an end, only the report"
    actions = play.exits(2, Blame.APPLICATION)
    assert not spawns(actions)
    assert codes(actions) == [blame.value]


def test_a_first_failure_beside_a_success_is_only_a_crash() -> None:
    play = Play(policy(3, starts_at_once=2)).begin()
    play.exits(1)
    actions = play.ready(2)
    assert [slot for slot, _ in spawns(actions)] == [0, 2]
    assert not codes(actions)
    play.served()
    assert play.generations() == {0: 1, 1: 1, 2: 1}


def test_who_was_ready_and_died_before_it_was_heard_is_only_a_crash() -> None:
    play = Play(policy(1)).begin()
    actions = play.feed(ev.WorkerExited(1, "killed", clean=False, ready=True))
    assert not codes(actions)
    assert spawns(actions) == [(0, Reason.CRASH)]


def test_nobody_ready_in_time_is_aborted_killed_and_exit_code_3() -> None:
    play = Play(policy(2, startup_timeout=10.0)).begin()
    assert play.seconds_until(ev.Abort) == 10.0
    assert aborted(play.actions) == [1, 2]
    assert play.seconds_until(ev.Kill) == play.policy.kill_grace
    play.exits(1)
    assert codes(play.exits(2)) == [3]


def test_without_a_startup_timeout_a_start_may_last() -> None:
    play = Play(policy(1, startup_timeout=0.0)).begin()
    assert play.supervisor.next_deadline() is None
    assert not play.wait(500.0)


@pytest.mark.parametrize("request_", [ev.ScaleRequested(-1), ev.ScaleRequested(+1), ev.ReloadRequested()])
def test_a_request_during_a_failed_first_start_still_ends_in_exit(request_: Event) -> None:
    """Two sequences like these were once found by hypothesis."""
    play = Play(policy(4, starts_at_once=2)).begin()
    play.feed(ev.ReloadRequested())
    play.exits(1)
    play.exits(2)
    assert not codes(play.actions), "the reload's own worker has still to answer"
    play.feed(request_)
    for _ in range(20):
        for worker in play.workers():
            play.exits(worker.number)
        if codes(play.actions):
            break
        play.tick(1.0)
    assert codes(play.actions) == [Blame.APPLICATION.value]


def test_a_request_between_the_two_first_failures_still_ends_in_exit() -> None:
    play = Play(policy(4, starts_at_once=2)).begin()
    play.exits(1)
    play.feed(ev.ReloadRequested())
    play.feed(ev.ScaleRequested(-1))
    play.feed(ev.ScaleRequested(+1))
    for _ in range(20):
        for worker in play.workers():
            play.exits(worker.number)
        if codes(play.actions):
            break
        play.tick(1.0)
    assert codes(play.actions) == [Blame.APPLICATION.value]


# ── crashes ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_crash_is_restarted_at_once_in_its_slot() -> None:
    play = Play(policy(2)).begin().served()
    play.wait(1.0)
    assert spawns(play.exits(2)) == [(1, Reason.CRASH)]


@pytest.mark.parametrize("seed", range(5))
def test_crashes_in_a_row_wait_longer_each_time_with_jitter_up_to_a_limit(seed: int) -> None:
    play = Play(policy(2), seed).begin().served()
    assert spawns(play.exits(2)) == [(1, Reason.CRASH)]
    for full in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]:
        newest = max(play.supervisor.workers)
        assert spawns(play.exits(newest)) == []
        assert "slot 1 is tried again in" in texts(play.actions)
        assert full / 2 <= play.seconds_until(ev.Spawn) <= full


def test_the_jitter_differs_so_slots_do_not_come_back_in_step() -> None:
    waits = set()
    for seed in range(8):
        play = Play(policy(2), seed).begin().served()
        play.exits(2)
        play.exits(3)
        waits.add(play.seconds_until(ev.Spawn))
    assert len(waits) == 8


def test_a_stable_time_forgets_earlier_crashes() -> None:
    play = Play(policy(2)).begin().served()
    play.exits(2)
    play.exits(3)
    play.seconds_until(ev.Spawn)
    play.ready(4)
    play.wait(play.policy.stable_after)
    assert spawns(play.exits(4)) == [(1, Reason.CRASH)]


def test_a_crash_before_the_stable_time_counts() -> None:
    play = Play(policy(2)).begin().served()
    play.exits(2)
    play.ready(3)
    play.wait(play.policy.stable_after - 0.25)
    assert spawns(play.exits(3)) == []


def test_one_slot_in_back_off_holds_no_other_up() -> None:
    play = Play(policy(2)).begin().served()
    play.exits(2)
    play.exits(3)
    assert spawns(play.exits(1)) == [(0, Reason.CRASH)]


def test_a_crashed_slot_is_fostered_until_it_is_served_again() -> None:
    play = Play(policy(2)).begin().served()
    assert ev.Tell(1, Foster(1)) in play.exits(2)
    assert ev.Tell(1, Unfoster(1)) in play.ready(3)


def test_a_lone_worker_has_nobody_to_foster_its_slot() -> None:
    play = Play(policy(1)).begin().served()
    assert not fosters(play.exits(1))


# ── silence ───────────────────────────────────────────────────────────────────────────────────────────


def test_who_has_nothing_to_do_may_be_silent_for_as_long_as_it_rests_longer() -> None:
    play = Play(policy(2)).begin().served()
    play.tick(0.25)
    play.idle = {1, 2}
    play.silent.add(2)
    play.supervisor.workers[2].pulse = 0
    play.wait(1.75)
    assert play.phase(2) is Phase.READY
    play.wait(0.25)
    assert play.phase(2) is Phase.STALLED
    play.silent.clear()
    play.wait(0.25)
    assert play.phase(2) is Phase.READY
    play.idle.clear()
    play.silent.add(2)
    play.supervisor.workers[2].pulse = 0
    play.wait(1.0)
    assert play.phase(2) is Phase.STALLED


def test_a_hang_is_stalled_then_aborted_then_killed_and_replaced_at_once() -> None:
    play = Play(policy(2)).begin().served()
    play.tick(0.25)
    play.silent.add(2)
    play.supervisor.workers[2].pulse = 0
    play.wait(0.75)
    assert play.phase(2) is Phase.READY
    play.wait(0.25)
    assert play.phase(2) is Phase.STALLED
    assert ev.Tell(1, Foster(1)) in play.actions
    play.wait(28.75)
    assert not aborted(play.actions)
    actions = play.wait(0.25)
    assert aborted(actions) == [2]
    assert spawns(actions) == [(1, Reason.HANG)]
    play.wait(play.policy.kill_grace - 0.25)
    assert not killed(play.actions)
    assert killed(play.wait(0.25)) == [2]
    assert not spawns(play.exits(2)), "it has been replaced already"


def test_a_loop_that_turns_again_is_forgiven() -> None:
    play = Play(policy(2)).begin().served()
    play.tick(0.25)
    play.silent.add(2)
    play.supervisor.workers[2].pulse = 0
    play.wait(29.0)
    assert play.phase(2) is Phase.STALLED
    play.silent.clear()
    actions = play.wait(0.25)
    assert play.phase(2) is Phase.READY
    assert ev.Tell(1, Unfoster(1)) in actions
    play.wait(60.0)
    assert not aborted(play.actions)


def test_worker_timeout_0_never_ends_a_silent_worker() -> None:
    play = Play(policy(1, worker_timeout=0.0)).begin().served()
    play.silent.add(1)
    play.wait(200.0)
    assert play.phase(1) is Phase.STALLED
    assert not aborted(play.actions)


def test_a_late_tick_forgives_silence_and_deadlines() -> None:
    """After SIGSTOP of the whole group, nobody had a chance to beat or to finish."""
    play = Play(policy(3, startup_timeout=10.0)).begin()
    play.ready(1, 2)
    play.tick(0.25)
    play.silent |= {1, 2}
    for number in (1, 2):
        play.supervisor.workers[number].pulse = 0
    actions = play.tick(100.0, late=99.75)
    assert not aborted(actions)
    assert play.phase(1) is Phase.READY
    assert play.phase(3) is Phase.STARTING
    assert 0 < play.seconds_until(ev.Abort) <= 10.0, "patience is prolonged, not given up"


# ── reload ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reload_goes_slot_by_slot_start_before_stop() -> None:
    play = Play(policy(3)).begin().served()
    assert spawns(play.feed(ev.ReloadRequested())) == [(0, Reason.RELOAD)]
    for slot, (old, new) in enumerate([(1, 4), (2, 5), (3, 6)]):
        actions = play.ready(new)
        assert ev.Tell(old, Drain(play.policy.graceful_timeout, (slot,))) in actions
        assert spawns(actions) == ([(slot + 1, Reason.RELOAD)] if slot < 2 else [])
    assert "generation 2 serves in every slot" in texts(play.actions)
    assert play.generations() == {0: 2, 1: 2, 2: 2}
    for old in (1, 2, 3):
        assert not spawns(play.exits(old))


def test_a_reload_replaces_as_many_slots_at_a_time_as_it_may() -> None:
    play = Play(policy(5, reload_at_once=2)).begin().served()
    assert [slot for slot, _ in spawns(play.feed(ev.ReloadRequested()))] == [0, 1]
    assert "5 slots, 2 at a time" in texts(play.actions)
    assert spawns(play.ready(7)) == [(2, Reason.RELOAD)]
    assert spawns(play.ready(6)) == [(3, Reason.RELOAD)]
    assert spawns(play.ready(8)) == [(4, Reason.RELOAD)]
    play.ready(9, 10)
    assert play.generations() == dict.fromkeys(range(5), 2)


def test_who_was_replaced_counts_while_it_drains_but_not_for_long() -> None:
    play = Play(policy(3, awaited=1.0)).begin().served()
    play.feed(ev.ReloadRequested())
    assert not spawns(play.ready(4))
    assert spawns(play.exits(1)) == [(1, Reason.RELOAD)]
    play.ready(5)
    # It has a stream.
    assert play.seconds_until(ev.Spawn) == 1.0
    play.ready(6)
    assert play.generations() == {0: 2, 1: 2, 2: 2}


def test_where_memory_is_short_nobody_starts_before_the_predecessor_is_gone() -> None:
    play = Play(policy(2, awaited=math.inf)).begin().served()
    play.feed(ev.ReloadRequested())
    play.ready(3)
    assert not spawns(play.wait(play.policy.graceful_timeout))
    play.hear(1, ShuttingDown(0))
    assert not spawns(play.wait(5.0))
    assert spawns(play.exits(1)) == [(1, Reason.RELOAD)]


def test_a_failed_successor_takes_the_others_of_its_reload_with_it_unless_they_listen() -> None:
    play = Play(policy(4, reload_at_once=3)).begin().served()
    play.feed(ev.ReloadRequested())
    play.hear(6, Listens())
    actions = play.exits(5)
    assert "reload to generation 2 aborted" in texts(actions)
    assert terminated(actions) == [7]
    play.exits(7)
    play.ready(6)
    assert play.generations() == {0: 1, 1: 2, 2: 1, 3: 1}
    assert not spawns(play.wait(60.0))


def test_recycles_stay_one_at_a_time() -> None:
    play = Play(policy(3, reload_at_once=3)).begin().served()
    assert spawns(play.hear(1, LimitReached(9))) == [(0, Reason.MAX_REQUESTS)]
    assert not spawns(play.hear(2, LimitReached(9)))
    assert spawns(play.ready(4)) == [(1, Reason.MAX_REQUESTS)]


@pytest.mark.parametrize("in_time", [True, False])
def test_a_failed_successor_aborts_the_reload_and_the_old_ones_serve_on(in_time: bool) -> None:
    play = Play(policy(3)).begin().served()
    play.feed(ev.ReloadRequested())
    play.ready(4)
    if in_time:
        play.exits(5)
    else:
        play.seconds_until(ev.Abort)
    assert "reload to generation 2 aborted" in texts(play.actions)
    assert "1 of 3 slots already run the new one" in texts(play.actions)
    assert drained(play.actions) == [1]
    play.wait(100.0)
    assert len(spawns(play.actions)) == 5, "nothing more is tried"
    assert play.generations() == {0: 2, 1: 1, 2: 1}


def test_after_an_aborted_reload_the_next_one_has_a_new_generation() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.ReloadRequested())
    play.exits(3)
    play.feed(ev.ReloadRequested())
    play.served()
    assert play.generations() == {0: 3, 1: 3}


def test_a_second_reload_during_the_first_follows_it_once() -> None:
    play = Play(policy(2)).begin().served()
    for _ in range(3):
        play.feed(ev.ReloadRequested())
    for _ in range(10):
        play.served()
        for worker in play.workers():
            if worker.phase is Phase.DRAINING:
                play.exits(worker.number)
    assert play.generations() == {0: 3, 1: 3}
    assert texts(play.actions).count("serves in every slot") == 2


def test_a_second_reload_does_not_wait_for_who_still_drains_and_a_third_one_does() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(ev.ReloadRequested())
    play.ready(2)
    assert spawns(play.feed(ev.ReloadRequested())) == [(0, Reason.RELOAD)]
    play.ready(3)
    assert spawns(play.feed(ev.ReloadRequested())) == []
    assert play.phase(1) is play.phase(2) is Phase.DRAINING
    assert spawns(play.exits(1)) == [(0, Reason.RELOAD)]


def test_a_reload_comes_last_where_somebody_still_drains() -> None:
    play = Play(policy(3)).begin().served()
    play.feed(ev.RestartRequested(0))
    play.ready(4)
    assert play.phase(1) is Phase.DRAINING
    assert spawns(play.feed(ev.ReloadRequested())) == [(1, Reason.RELOAD)]
    assert spawns(play.ready(5)) == [(2, Reason.RELOAD)]
    assert spawns(play.ready(6)) == [(0, Reason.RELOAD)]


def test_a_reload_heals_a_slot_in_back_off() -> None:
    play = Play(policy(2)).begin().served()
    play.exits(2)
    play.exits(3)
    assert play.supervisor.slots[1].missing()
    play.feed(ev.ReloadRequested())
    play.served()
    assert play.generations() == {0: 2, 1: 2}


def test_a_crash_during_a_reload_is_restarted_and_the_reload_goes_on() -> None:
    play = Play(policy(3)).begin().served()
    play.feed(ev.ReloadRequested())
    assert (2, Reason.CRASH) in spawns(play.exits(3))
    for _ in range(5):
        play.served()
        for worker in play.workers():
            if worker.phase is Phase.DRAINING:
                play.exits(worker.number)
    assert play.generations() == {0: 2, 1: 2, 2: 2}


def test_a_stop_during_a_reload_is_acted_on_at_once() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.ReloadRequested())
    actions = play.feed(ev.StopRequested())
    assert terminated(actions) == [3]
    assert drained(actions) == [1, 2]
    play.exits(3)
    play.exits(1)
    assert codes(play.exits(2)) == [0]


def test_a_ready_message_of_a_worker_given_up_changes_nothing() -> None:
    play = Play(policy(1, startup_timeout=10.0)).begin().served()
    play.feed(ev.ReloadRequested())
    play.seconds_until(ev.Abort)
    assert drained(play.ready(2)) == []
    assert play.phase(2) is Phase.DYING
    assert play.generations() == {0: 1}


# ── scale ─────────────────────────────────────────────────────────────────────────────────────────────


def test_scaling_up_starts_the_next_slot() -> None:
    play = Play(policy(2)).begin().served()
    assert spawns(play.feed(ev.ScaleRequested(+1))) == [(2, Reason.SCALE)]


def test_scaling_down_drains_the_last_slot_into_the_others() -> None:
    play = Play(policy(3)).begin().served()
    actions = play.feed(ev.ScaleRequested(-1))
    assert ev.Tell(3, Drain(play.policy.graceful_timeout, (0, 1))) in actions
    assert not spawns(play.exits(3))


def test_scaling_down_ends_a_worker_that_only_starts() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.ScaleRequested(+1))
    assert terminated(play.feed(ev.ScaleRequested(-1))) == [3]
    assert not spawns(play.exits(3))
    assert set(play.supervisor.slots) == {0, 1}, "a slot that never had listeners is forgotten"


@pytest.mark.parametrize(("by", "limit"), [(-1, 1), (+1, 6)])
def test_scaling_has_limits(by: int, limit: int) -> None:
    play = Play(policy(2)).begin().served()
    for _ in range(10):
        play.feed(ev.ScaleRequested(by))
    assert play.supervisor.target == limit
    assert f"scaling refused: {limit} is the limit" in texts(play.actions)


def test_down_then_up_serves_the_slot_anew_beside_the_one_that_drains() -> None:
    play = Play(policy(2)).begin().served()
    assert drained(play.feed(ev.ScaleRequested(-1))) == [2]
    assert spawns(play.feed(ev.ScaleRequested(+1))) == [(1, Reason.SCALE)]
    play.served()
    assert not spawns(play.exits(2))
    assert play.generations() == {0: 1, 1: 1}


def test_down_then_up_during_a_reload_is_of_the_new_generation() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.ReloadRequested())
    play.feed(ev.ScaleRequested(-1))
    play.feed(ev.ScaleRequested(+1))
    play.served()
    assert "generation 2 serves in every slot" in texts(play.actions)
    assert play.generations() == {0: 2, 1: 2}


def test_scaling_is_refused_while_stopping() -> None:
    play = Play(policy(2, shutdown_delay=5.0)).begin().served()
    play.feed(ev.StopRequested())
    assert not spawns(play.feed(ev.ScaleRequested(+1)))
    assert not spawns(play.feed(ev.ReloadRequested()))
    assert "scaling refused: stopping" in texts(play.actions)
    assert "reload refused: stopping" in texts(play.actions)


# ── recycling ─────────────────────────────────────────────────────────────────────────────────────────


def limit(number: int, reason: Reason = Reason.MAX_REQUESTS) -> ev.Heard | ev.Outgrown:
    return ev.Outgrown(number, "limit") if reason is Reason.MAX_RSS else ev.Heard(number, LimitReached(1))


def test_recycling_is_one_at_a_time() -> None:
    play = Play(policy(3)).begin().served()
    assert spawns(play.feed(limit(1))) == [(0, Reason.MAX_REQUESTS)]
    assert spawns(play.feed(limit(2, Reason.MAX_RSS))) == []
    actions = play.ready(4)
    assert drained(actions) == [1]
    assert spawns(actions) == [(1, Reason.MAX_RSS)]


def test_a_worker_whose_listener_was_closed_is_replaced() -> None:
    play = Play(policy(2)).begin().served()
    assert spawns(play.feed(ev.Unlistened(1))) == [(0, Reason.RESTART)]
    assert spawns(play.feed(ev.Unlistened(1))) == []
    assert drained(play.ready(3)) == [1]


def test_the_same_limit_twice_is_one_recycling() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(limit(1))
    play.feed(limit(1, Reason.MAX_RSS))
    play.ready(2)
    assert not spawns(play.exits(1))


def test_a_failed_recycling_is_tried_again_with_back_off() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(limit(1))
    assert spawns(play.exits(2)) == [(0, Reason.MAX_REQUESTS)], "the first time at once"
    for full in [0.5, 1.0, 2.0]:
        assert spawns(play.exits(max(play.supervisor.workers))) == []
        assert full / 2 <= play.seconds_until(ev.Spawn) <= full
    play.served()
    assert drained(play.actions) == [1]


def test_a_recycling_is_dropped_when_its_worker_dies() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(limit(1))
    play.feed(limit(2))
    assert spawns(play.exits(2)) == [(1, Reason.CRASH)]
    play.served()
    play.wait(50.0)
    assert [reason for slot, reason in spawns(play.actions) if slot == 1] == [Reason.START, Reason.CRASH]


def test_who_is_sent_sigterm_serves_until_its_successor_is_ready() -> None:
    play = Play(policy(1)).begin().served()
    actions = play.hear(1, Leaving())
    assert spawns(actions) == [(0, Reason.TERMINATED)]
    assert not drained(actions)
    assert drained(play.ready(2)) == [1]


def test_an_aborted_reload_still_owes_the_recycling_it_took_over() -> None:
    """A worker says once that it has reached its limit."""
    play = Play(policy(2)).begin().served()
    play.feed(ev.ReloadRequested())
    play.feed(limit(2))
    play.exits(3)
    assert "aborted" in texts(play.actions)
    assert (1, Reason.MAX_REQUESTS) in spawns(play.actions)
    play.served()
    assert drained(play.actions) == [2]


def test_a_recycling_that_waited_when_the_reload_began_is_still_owed_when_it_is_aborted() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(limit(1))
    play.feed(limit(2))
    play.feed(ev.ReloadRequested())
    assert spawns(play.ready(3)) == [(1, Reason.RELOAD)]
    assert (1, Reason.MAX_REQUESTS) in spawns(play.exits(4))
    play.served()
    assert drained(play.actions) == [1, 2]


def test_a_reload_recycles_along_the_way_only_once() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.ReloadRequested())
    play.feed(limit(2))
    play.served()
    play.wait(50.0)
    assert len(spawns(play.actions)) == 4


@pytest.mark.parametrize("seed", range(5))
def test_a_lifetime_ends_within_its_jitter(seed: int) -> None:
    play = Play(policy(1, lifetime=40.0, lifetime_jitter=10.0), seed).begin().served()
    assert 40.0 <= play.seconds_until(ev.Spawn) <= 50.0
    assert spawns(play.actions)[-1] == (0, Reason.LIFETIME)
    assert not drained(play.actions)
    assert drained(play.ready(2)) == [1]


def test_without_a_lifetime_nothing_is_planned() -> None:
    play = Play(policy(2)).begin().served()
    assert play.supervisor.next_deadline() is None


# ── stop ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stop_drains_everybody_and_exits_0() -> None:
    play = Play(policy(2)).begin().served()
    assert drained(play.feed(ev.StopRequested())) == [1, 2]
    play.exits(1)
    assert codes(play.exits(2)) == [0]


def looks(actions: list[Action]) -> list[int]:
    """Who was asked what it executes."""
    return [action.worker for action in actions if isinstance(action, ev.Look)]


def test_who_falls_silent_is_asked_what_it_executes_and_again_before_it_is_ended() -> None:
    play = Play(policy(1)).begin().served()
    play.silent.add(1)
    assert looks(play.wait(1.5)) == [1]
    play.feed(ev.Seen(1, "first (app.py:1)"))
    assert looks(play.wait(26.0)) == []
    assert looks(play.wait(2.0)) == [1]
    play.feed(ev.Seen(1, "second (app.py:2)"))
    play.wait(2.0)
    assert "s (--worker-timeout), in second (app.py:2): stacks follow" in texts(play.actions)


def test_who_turns_again_says_what_it_has_executed() -> None:
    play = Play(policy(1, worker_timeout=0.0)).begin().served()
    play.silent.add(1)
    play.wait(1.5)
    play.feed(ev.Seen(1, "count (app.py:7)"))
    assert looks(play.wait(600.0)) == []
    play.silent.clear()
    play.tick(0.25)
    assert re.search(r"turns again, after 601\.\d s, in count \(app\.py:7\)", texts(play.actions))


def test_who_starts_slowly_is_told_of_once_with_what_it_executes() -> None:
    play = Play(policy(1)).begin()
    assert looks(play.wait(29.5)) == []
    assert looks(play.wait(1.0)) == [1]
    play.feed(ev.Seen(1, "<module> (app.py:3)"))
    assert "slot 0 is not ready after 30 s, in <module> (app.py:3)" in texts(play.actions)
    assert looks(play.wait(29.0)) == [1]
    play.feed(ev.Seen(1, "<module> (app.py:9)"))
    assert texts(play.actions).count("is not ready after") == 1
    play.wait(1.0)
    assert "within 60 s (--startup-timeout), in <module> (app.py:9): stacks" in texts(play.actions)


def test_what_a_dead_worker_executes_is_nobodys_concern() -> None:
    play = Play(policy(1)).begin().served()
    play.exits(1)
    play.feed(ev.Seen(1, "count (app.py:7)"))
    assert "count" not in texts(play.actions)


def test_a_stop_kills_the_slow_and_does_not_exit_0() -> None:
    play = Play(policy(3)).begin().served()
    actions = play.feed(ev.StopRequested())
    assert drained(actions) == [1, 2, 3]
    assert all(message.heirs == () for _, message in told(actions) if isinstance(message, Drain))
    play.exits(1)
    assert play.seconds_until(ev.Kill) == play.policy.graceful_timeout + play.policy.kill_grace
    assert killed(play.actions) == [2, 3]
    play.exits(2)
    assert codes(play.exits(3)) == [1]
    assert len(spawns(play.actions)) == 3


@pytest.mark.parametrize("wish", [ev.StopRequested(), ev.QuitRequested()])
def test_a_stop_ends_though_what_was_sent_sigkill_is_held(wish: Event) -> None:
    play = Play(policy(2)).begin().served()
    play.feed(wish)
    play.exits(1)
    if not killed(play.actions):
        play.seconds_until(ev.Kill)
    assert play.seconds_until(ev.Exit) == play.policy.held
    assert ev.Abandon(2) in play.actions
    assert codes(play.actions) == [1]


def test_a_desk_is_free_again_though_what_was_sent_sigkill_is_held() -> None:
    play = Play(policy(1)).begin().served()
    for liar in (1, 2, 3):
        play.feed(ev.Violated(liar, "it lies"))
        play.wait(4.0)
        play.served()
    assert play.supervisor.slots[0].serving(), "all desks are free again, one by one"
    play.wait(play.policy.held)
    assert [worker.number for worker in play.workers()] == [4]
    assert len([action for action in play.actions if isinstance(action, ev.Abandon)]) == 3


def test_lifespan_shutdown_takes_what_it_takes_in_a_stop() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.StopRequested())
    play.hear(1, ShuttingDown(0))
    play.hear(2, ShuttingDown(0))
    assert play.supervisor.next_deadline() is None
    play.wait(600.0)
    play.exits(1)
    assert codes(play.exits(2)) == [0]


def test_lifespan_shutdown_is_limited_where_its_slot_is_held_up() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(ev.ReloadRequested())
    play.ready(2)
    play.wait(7.0)
    play.hear(1, ShuttingDown(0))
    assert play.seconds_until(ev.Kill) == play.policy.held_up
    assert killed(play.actions) == [1]
    assert "lifespan shutdown in slot 0 was not over within 30 s (--shutdown-timeout)" in texts(play.actions)


def test_a_stop_lifts_the_limit_of_who_shuts_down_already() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(ev.ReloadRequested())
    play.ready(2)
    play.hear(1, ShuttingDown(0))
    play.feed(ev.StopRequested())
    play.hear(2, ShuttingDown(0))
    play.wait(600.0)
    play.exits(1)
    assert codes(play.exits(2)) == [0]


def test_the_operators_limit_holds_in_a_stop_too_and_0_is_none_anywhere() -> None:
    play = Play(policy(1, shutdown_timeout=3.0)).begin().served()
    play.feed(ev.StopRequested())
    play.hear(1, ShuttingDown(0))
    assert play.seconds_until(ev.Kill) == 3.0
    assert codes(play.exits(1)) == [1]
    play = Play(policy(1, shutdown_timeout=0.0)).begin().served()
    play.feed(ev.ReloadRequested())
    play.ready(2)
    play.hear(1, ShuttingDown(0))
    play.wait(600.0)
    assert not killed(play.actions)


def test_requests_that_were_cut_off_in_a_stop_are_told_by_the_exit_code() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(ev.StopRequested())
    play.hear(1, ShuttingDown(2))
    assert codes(play.exits(1)) == [1]


def test_who_says_that_it_shuts_down_and_serves_gains_nothing_by_it() -> None:
    play = Play(policy(1, shutdown_timeout=0.0)).begin().served()
    play.hear(1, ShuttingDown(0))
    assert play.phase(1) is Phase.READY
    play.feed(ev.StopRequested())
    assert play.seconds_until(ev.Kill) == play.policy.graceful_timeout + play.policy.kill_grace


def test_a_worker_that_dies_while_it_drains_was_cut_short() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.StopRequested())
    play.feed(ev.WorkerExited(1, "worker 1 crashed", clean=False))
    assert codes(play.exits(2)) == [1]


def test_a_worker_that_was_killed_before_the_stop_does_not_count() -> None:
    play = Play(policy(2, worker_timeout=5.0)).begin().served()
    play.silent = {1}
    play.wait(5.5)
    play.seconds_until(ev.Kill)
    play.exits(1)
    play.served()
    play.feed(ev.StopRequested())
    for worker in play.workers():
        play.exits(worker.number)
    assert codes(play.actions) == [0]


def test_a_delayed_stop_serves_on_first() -> None:
    play = Play(policy(2, shutdown_delay=5.0)).begin().served()
    assert not drained(play.feed(ev.StopRequested()))
    assert play.seconds_until(ev.Tell) == 5.0
    assert drained(play.actions) == [1, 2]


def test_a_second_stop_kills_at_once_even_during_the_delay() -> None:
    play = Play(policy(2, shutdown_delay=5.0)).begin().served()
    play.feed(ev.StopRequested())
    play.tick(1.0)
    assert killed(play.feed(ev.StopRequested())) == [1, 2]
    play.exits(1)
    assert codes(play.exits(2)) == [1]


def test_signals_within_a_second_are_one_wish() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.StopRequested())
    for _ in range(3):
        play.tick(0.3)
        assert play.feed(ev.StopRequested()) == []
    play.exits(1)
    assert codes(play.exits(2)) == [0]


def test_quit_kills_at_once() -> None:
    play = Play(policy(2)).begin()
    play.ready(1)
    actions = play.feed(ev.QuitRequested())
    assert set(killed(actions)) == {1, 2}
    play.exits(1)
    assert codes(play.exits(2)) == [1]


def test_nothing_starts_while_stopping() -> None:
    play = Play(policy(3, shutdown_delay=20.0)).begin().served()
    play.feed(limit(1))
    play.actions.clear()
    play.feed(ev.StopRequested())
    play.exits(4)
    play.exits(2)
    play.feed(limit(1))
    play.hear(3, Leaving())
    play.wait(30.0)
    assert spawns(play.actions) == []


def test_a_stop_before_anybody_is_ready_exits_0() -> None:
    play = Play(policy(2)).begin()
    assert terminated(play.feed(ev.StopRequested())) == [1, 2]
    play.exits(1)
    assert codes(play.exits(2)) == [0]


def test_the_exit_comes_once() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(ev.StopRequested())
    play.exits(1)
    play.feed(ev.StopRequested())
    play.feed(ev.QuitRequested())
    play.tick(100.0)
    assert codes(play.actions) == [0]


# ── a worker that somebody sends SIGTERM ──────────────────────────────────────────────────────────────


def test_a_worker_that_asks_to_leave_is_replaced_before_it_drains() -> None:
    play = Play(policy()).begin().served()
    assert spawns(play.hear(1, Leaving())) == [(0, Reason.TERMINATED)]
    assert play.phase(1) is Phase.READY
    assert drained(play.ready(3)) == [1]


def test_a_worker_that_does_not_wait_is_replaced_at_once_and_its_slot_fostered() -> None:
    play = Play(policy()).begin().served()
    play.hear(1, Leaving())
    actions = play.hear(1, Leaving())
    assert play.phase(1) is Phase.DRAINING
    assert ev.Tell(2, Foster(0)) in actions
    assert spawns(actions) == []  # the replacement it asked for the first time is on its way
    assert ev.Tell(2, Unfoster(0)) in play.ready(3)


# ── between listen and ready ──────────────────────────────────────────────────────────────────


def test_a_worker_that_dies_while_it_listens_leaves_a_queue_to_foster() -> None:
    play = Play(policy()).begin()
    play.ready(2)
    assert play.hear(1, Listens()) == []
    assert ev.Tell(2, Foster(0)) in play.exits(1)


def test_a_worker_scaled_away_while_it_listens_is_let_be_until_it_can_drain() -> None:
    play = Play(policy()).begin()
    play.ready(1)
    play.hear(2, Listens())
    assert play.feed(ev.ScaleRequested(-1))[1:] == []
    assert ev.Tell(2, Drain(8.0, (0,))) in play.ready(2)


def test_a_worker_that_listens_at_a_stop_drains_when_it_is_ready() -> None:
    play = Play(policy()).begin()
    play.ready(1)
    play.hear(2, Listens())
    actions = play.feed(ev.StopRequested())
    assert drained(actions) == [1]
    assert not any(isinstance(action, ev.Terminate) for action in actions)
    assert drained(play.ready(2)) == [2]


# ── clients that wait for a worker that does not turn ─────────────────────────────────────────────────


def stuck(slots: set[int], late: set[int], loads: dict[int, int]) -> ev.Stuck:
    return ev.Stuck(frozenset(slots), frozenset(late), loads)


def fosters(actions: list[Action]) -> list[Action]:
    return [
        action
        for action in actions
        if isinstance(action, ev.Tell) and isinstance(action.message, Foster | Unfoster)
    ]


def test_the_least_busy_that_turns_accepts_for_a_stuck_one() -> None:
    play = Play(policy(4)).begin().served()
    actions = play.feed(stuck({0}, {1, 2}, {1: 5, 2: 0, 3: 2, 4: 1}))
    assert fosters(actions) == [ev.Tell(4, Foster(0))]


def test_it_goes_on_until_the_loop_has_turned_for_a_while() -> None:
    play = Play(policy()).begin().served()
    play.feed(stuck({0}, {1}, {1: 1, 2: 0}))
    play.silent.add(1)
    assert fosters(play.wait(3.0)) == []
    play.silent.clear()
    assert fosters(play.wait(0.25)) == []
    assert fosters(play.wait(0.5)) == [ev.Tell(2, Unfoster(0))]


def test_a_foster_that_is_stuck_itself_is_relieved() -> None:
    play = Play(policy(3)).begin().served()
    play.feed(stuck({0}, {1}, {1: 1, 2: 0, 3: 0}))
    actions = play.feed(stuck({0, 1}, {1, 2}, {1: 1, 2: 1, 3: 0}))
    assert fosters(actions) == [ev.Tell(2, Unfoster(0)), ev.Tell(3, Foster(0)), ev.Tell(3, Foster(1))]


def test_where_all_are_stuck_nobody_changes_places() -> None:
    play = Play(policy()).begin().served()
    assert fosters(play.feed(stuck({0, 1}, {1, 2}, {1: 1, 2: 1}))) == []


# ── whom the kernel is to choose ──────────────────────────────────────────────────────────────────────


def steers(actions: list[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, ev.Steer)]


def test_a_slot_is_steered_to_from_its_readiness_to_its_death() -> None:
    play = Play(policy()).begin()
    assert steers(play.hear(1, Listens())) == []
    assert steers(play.ready(1)) == [ev.Steer(0, 0)]
    assert steers(play.exits(1)) == [ev.Steer(0, None)]
    assert steers(play.ready(3)) == [ev.Steer(0, 0)]


def test_a_successor_is_steered_to_at_its_own_desk_without_a_fence_in_between() -> None:
    play = Play(policy(1)).begin().served()
    play.feed(ev.ReloadRequested())
    assert steers(play.ready(2)) == [ev.Steer(0, 1)]


def test_who_is_scaled_away_is_fenced_and_a_stop_leaves_it_as_it_is() -> None:
    play = Play(policy()).begin().served()
    assert steers(play.feed(ev.ScaleRequested(-1))) == [ev.Steer(1, None)]
    assert steers(play.feed(ev.StopRequested())) == []
