"""What operators ask of the supervisor: scale to, drain, restart; and what is refused, with the reason."""

from __future__ import annotations

import pytest

from reuseport.history import Kind
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Reason, Request
from reuseport.messages import Drain, Foster, Listens, Unfoster
from tests.launcher.deciding.test_supervisor import Play, drained, policy, spawns, texts, told


def served(workers: int = 3) -> Play:
    """All slots listen and are served."""
    play = Play(policy(workers)).begin()
    for worker in play.workers():
        play.hear(worker.number, Listens())
    return play.served()


def kinds(play: Play) -> list[Kind]:
    return [action.kind for action in play.actions if isinstance(action, ev.Report)]


def test_scaling_to_a_number() -> None:
    play = served(2)
    assert spawns(play.feed(ev.ScaleTo(4))) == [(2, Reason.SCALE), (3, Reason.SCALE)]
    play.served()
    assert sorted(drained(play.feed(ev.ScaleTo(1)))) == [2, 3, 4]
    assert play.feed(ev.ScaleTo(1)) == []


def test_a_drained_slot_is_out_of_service_until_it_is_restarted() -> None:
    play = served()
    actions = play.feed(ev.DrainRequested(1))
    assert drained(actions) == [2]
    assert told(actions) == [(2, Drain(play.policy.graceful_timeout, (0, 2))), (1, Foster(1))]
    assert [(a.slot, a.desk) for a in actions if isinstance(a, ev.Steer)] == [(1, None)]
    play.exits(2)
    assert not spawns(play.wait(60))
    assert play.supervisor.next_deadline() is None
    actions = play.feed(ev.RestartRequested(1))
    assert spawns(actions) == [(1, Reason.RESTART)]
    assert (1, Unfoster(1)) in told(play.ready(4))


def test_a_reload_leaves_a_drained_slot_alone_and_the_restart_makes_up_for_it() -> None:
    play = served()
    play.feed(ev.DrainRequested(0))
    play.exits(1)
    play.feed(ev.ReloadRequested())
    play.served()
    assert Kind.RELOAD_DONE in kinds(play)
    assert play.generations() == {1: 2, 2: 2}
    play.feed(ev.RestartRequested(0))
    play.served()
    assert play.generations() == {0: 2, 1: 2, 2: 2}


def test_draining_in_the_middle_of_the_slots_own_reload() -> None:
    play = served(2)
    play.feed(ev.ReloadRequested())  # the successor of slot 0 starts: worker 3
    assert spawns(play.actions)[-1] == (0, Reason.RELOAD)
    play.feed(ev.DrainRequested(0))
    assert 1 in drained(play.actions)
    play.exits(3)
    play.exits(1)
    play.served()
    assert play.generations() == {1: 2}
    assert Kind.RELOAD_ABORTED not in kinds(play)


def test_scaling_away_and_back_puts_a_drained_slot_into_service() -> None:
    play = served()
    play.feed(ev.DrainRequested(2))
    play.exits(3)
    play.feed(ev.ScaleTo(2))
    assert spawns(play.feed(ev.ScaleTo(3))) == [(2, Reason.SCALE)]


def test_a_restart_starts_before_it_stops() -> None:
    play = served(2)
    assert spawns(play.feed(ev.RestartRequested(0))) == [(0, Reason.RESTART)]
    assert not drained(play.actions)
    assert drained(play.ready(3)) == [1]


def test_a_restart_ends_the_back_off() -> None:
    play = served(2)
    play.exits(1)
    assert not spawns(play.exits(3)), "the second loss in a row is followed by a pause"
    assert spawns(play.feed(ev.RestartRequested(0))) == [(0, Reason.RESTART)]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (ev.ScaleTo(0), "the number of workers is 1 to 7"),
        (ev.ScaleTo(8), "the number of workers is 1 to 7"),
        (ev.DrainRequested(3), "there is no slot 3: they are 0 to 2"),
        (ev.DrainRequested(-1), "there is no slot -1"),
        (ev.RestartRequested(3), "there is no slot 3"),
    ],
)
def test_what_is_refused(request_: Request, why: str) -> None:
    play = served()
    assert why in (play.supervisor.objection(request_) or "")
    actions = play.feed(request_)
    assert why in texts(actions)
    assert [type(action) for action in actions] == [ev.Report]


def test_the_last_slot_that_serves_is_not_drained() -> None:
    play = served(2)
    play.feed(ev.DrainRequested(0))
    assert play.supervisor.objection(ev.DrainRequested(0)) == "it is out of service already"
    assert "no other slot serves" in (play.supervisor.objection(ev.DrainRequested(1)) or "")


def test_while_stopping_only_a_stop_is_accepted() -> None:
    play = served(2)
    play.feed(ev.StopRequested())
    for request_ in (ev.ReloadRequested(), ev.ScaleTo(3), ev.DrainRequested(0), ev.RestartRequested(0)):
        assert play.supervisor.objection(request_) == "stopping"
    assert play.supervisor.objection(ev.StopRequested()) is None


def test_the_generation_that_a_reload_will_bring_is_known_when_it_is_asked_for() -> None:
    play = served(2)
    assert play.supervisor.promised() == 2
    play.feed(ev.ReloadRequested())
    assert play.supervisor.reloading() == (2, 0, 2)
    assert play.supervisor.promised() == 3
    play.feed(ev.ReloadRequested())
    assert play.supervisor.promised() == 3, "any number of requests is one more reload"
    play.feed(ev.ReloadRequested())
    play.served()
    play.exits(1)
    play.exits(2)
    play.served()
    assert play.generations() == {0: 3, 1: 3}
    assert play.supervisor.reloading() is None
    assert play.supervisor.stage() == "serving"
