"""What a worker may say when: everything else condemns it, and nobody else."""

from __future__ import annotations

import itertools

import pytest

from reuseport.history import Kind
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.conversation import CONVERSATION, Said
from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.deciding.phases import Phase
from reuseport.messages import (
    TO_LAUNCHER,
    CannotFoster,
    Failed,
    Foster,
    Holds,
    Leaving,
    LimitReached,
    Listens,
    Ready,
    ShuttingDown,
    ToLauncher,
    Waits,
)
from tests.launcher.deciding.test_supervisor import Play, codes, killed, policy, spawns, texts, told

MESSAGES: list[ToLauncher] = [
    Listens(),
    Ready(),
    Failed("application", "why"),
    LimitReached(7),
    Leaving(),
    CannotFoster(1),
    Holds(("scheduler",)),
    Waits(2, "GET /", None),
    ShuttingDown(0),
]
BEFORE: dict[Said, list[ToLauncher]] = {
    Said.NOTHING: [],
    Said.FAILED: [Failed("operator", "because")],
    Said.LISTENS: [Listens()],
    Said.READY: [Listens(), Ready()],
    Said.SHUTTING_DOWN: [Listens(), Ready(), ShuttingDown(0)],
}


def test_every_kind_is_tried() -> None:
    assert {type(message).__name__ for message in MESSAGES} == set(TO_LAUNCHER.kinds)


@pytest.mark.parametrize(
    ("said", "message"),
    list(itertools.product(Said, MESSAGES)),
    ids=lambda value: value.name if isinstance(value, Said) else type(value).__name__,
)
def test_a_word_at_the_wrong_time_condemns_its_worker_alone(said: Said, message: ToLauncher) -> None:
    play = Play(policy(3)).begin().served()
    play.exits(2)  # its successor is the one that speaks
    for before in BEFORE[said]:
        play.hear(4, before)
    actions = play.hear(4, message)
    if (said, type(message)) in CONVERSATION:
        assert not killed(actions)
        return
    assert killed(actions) == [4]
    assert next(action.kind for action in actions if isinstance(action, ev.Report)) is Kind.VIOLATION
    assert f"says {type(message).__name__} after it has said {said.value}" in texts(actions)
    assert play.phase(1) is Phase.READY
    assert play.phase(3) is Phase.READY
    play.exits(4)
    play.wait(40.0)
    assert spawns(play.actions)[-1] == (1, Reason.VIOLATION)


@pytest.mark.parametrize("stopping", [False, True])
def test_a_draining_worker_that_is_ready_again_is_condemned(stopping: bool) -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.StopRequested() if stopping else ev.ReloadRequested())
    if not stopping:
        play.ready(3)
    assert play.phase(1) is Phase.DRAINING
    assert killed(play.hear(1, Ready())) == [1]
    spawned = len(spawns(play.actions))
    play.exits(1)
    assert len(spawns(play.actions)) == spawned, "its slot is served, or to be served no more"


def test_a_violation_before_anybody_was_ready_fails_the_start() -> None:
    play = Play(policy(1)).begin()
    play.feed(ev.Violated(1, "it sends nonsense"))
    assert codes(play.exits(1)) == [3]


def test_a_successor_that_violates_aborts_the_reload() -> None:
    play = Play(policy(2)).begin().served()
    play.feed(ev.ReloadRequested())
    actions = play.feed(ev.Violated(3, "it sends nonsense"))
    assert "reload to generation 2 aborted: it sends nonsense" in texts(actions)
    assert play.generations() == {0: 1, 1: 1}


def test_who_cannot_foster_is_excused_and_another_is_chosen() -> None:
    play = Play(policy(3)).begin().served()
    assert (1, Foster(2)) in told(play.exits(3))
    assert told(play.hear(1, CannotFoster(2))) == [(2, Foster(2))]
    assert told(play.hear(2, CannotFoster(2))) == [], "nobody is left"
    later = told(play.wait(6.0))
    assert later == [(1, Foster(2))], "they are asked again after a while"


def test_who_refuses_what_it_was_not_asked_for_changes_nothing() -> None:
    play = Play(policy(3)).begin().served()
    assert (1, Foster(2)) in told(play.exits(3))
    assert told(play.hear(2, CannotFoster(2))) == []
    assert told(play.hear(2, CannotFoster(99))) == []
