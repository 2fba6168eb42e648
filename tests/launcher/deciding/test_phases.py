"""The table of a worker's life: complete, every phase can be reached, and nobody comes back."""

from __future__ import annotations

import itertools

import pytest

from reuseport.launcher.deciding.phases import (
    SERVING,
    TRANSITIONS,
    Cue,
    ImpossibleCueError,
    Phase,
    after,
    diagram,
)

PAIRS = list(itertools.product(Phase, Cue))

IMPOSSIBLE = {
    # Nobody looks at the heartbeat of a worker that has not started its event loop, nobody drains one that
    # serves nobody, and a worker says once that it is ready.
    (Phase.STARTING, Cue.SILENT),
    (Phase.STARTING, Cue.TURNING),
    (Phase.STARTING, Cue.DRAIN),
    (Phase.READY, Cue.LISTENING),
    (Phase.STALLED, Cue.LISTENING),
    (Phase.DRAINING, Cue.LISTENING),
    (Phase.DRAINING, Cue.DRAIN),
    (Phase.DYING, Cue.DRAIN),
    *((Phase.GONE, cue) for cue in Cue),
}


@pytest.mark.parametrize(("phase", "cue"), PAIRS, ids=lambda member: member.name)
def test_every_pair_is_in_the_table_or_a_typed_error(phase: Phase, cue: Cue) -> None:
    if (phase, cue) in TRANSITIONS:
        assert after(phase, cue) is TRANSITIONS[phase, cue]
        assert (phase, cue) not in IMPOSSIBLE
    else:
        assert (phase, cue) in IMPOSSIBLE, "neither in the table nor known to be impossible"
        with pytest.raises(ImpossibleCueError, match=f"a {phase.value} worker.*{cue.value}"):
            after(phase, cue)


def test_every_phase_is_reached_from_the_first() -> None:
    reached = {Phase.STARTING}
    while True:
        further = {target for (source, _), target in TRANSITIONS.items() if source in reached} | reached
        if further == reached:
            break
        reached = further
    assert reached == set(Phase)


def test_every_phase_leads_to_the_end_at_once() -> None:
    for phase in set(Phase) - {Phase.GONE}:
        assert after(phase, Cue.EXIT) is Phase.GONE


def test_gone_is_final() -> None:
    assert not [pair for pair in TRANSITIONS if pair[0] is Phase.GONE]


def test_who_leaves_never_serves_again() -> None:
    for (source, _), target in TRANSITIONS.items():
        if source in {Phase.DRAINING, Phase.DYING}:
            assert target not in SERVING | {Phase.STARTING}
        assert target is not Phase.STARTING


def test_who_is_condemned_only_dies() -> None:
    for cue in Cue:
        if (Phase.DYING, cue) in TRANSITIONS:
            assert after(Phase.DYING, cue) in {Phase.DYING, Phase.GONE}


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[Phase.GONE, Cue.LISTENING] = Phase.READY  # type: ignore[index]


def test_the_diagram_shows_every_move_and_no_other() -> None:
    shown = set()
    for line in diagram().splitlines():
        source, moves = line.split(maxsplit=1)
        for move in moves.split(" · "):
            cue, target = move.split(" → ")
            shown.add((Phase(source), Cue(cue), Phase(target)))
    assert shown == {
        (source, cue, target) for (source, cue), target in TRANSITIONS.items() if source is not target
    }
