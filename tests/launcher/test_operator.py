"""What visitors ask for, several of them between two turns of the launcher's loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator

import pytest

from reuseport.history import Kind
from reuseport.instance import RefusedError
from reuseport.kernel.probe import Level
from reuseport.launcher.balance import Balance, Choice
from reuseport.launcher.deciding import events as ev
from reuseport.launcher.deciding.events import Action, Event
from reuseport.launcher.deciding.supervisor import Supervisor
from reuseport.launcher.exclusion import Exclusion
from reuseport.launcher.guarded import GuardedLoop
from reuseport.launcher.operator import Operator
from reuseport.launcher.ports import Ports
from reuseport.launcher.telling.chronicle import Chronicle
from reuseport.launcher.telling.overview import Overview
from reuseport.launcher.telling.totals import Totals
from reuseport.launcher.telling.usage import Usage
from reuseport.launcher.watching.readings import Readings
from reuseport.messages import Listens, Ready
from reuseport.scoreboard import Scoreboard
from reuseport.settings.table import Settings
from tests.launcher.deciding.test_supervisor import policy


class Server:
    """A launcher without processes: whoever is spawned is ready at once."""

    def __init__(self, scoreboard: Scoreboard, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.supervisor = Supervisor(policy(2), random.Random(1))
        self.chronicle = Chronicle(Totals(Readings(scoreboard)))
        self.actions: list[Action] = []
        self.errors: list[Exception] = []
        usage, self.exclusion = Usage(), Exclusion()
        overview = Overview(
            Settings(),
            self.supervisor,
            {},
            Ports([], []),
            Balance(Choice("hash", "a test", Level.HASHED), scoreboard, None, 2),
            self.exclusion,
            self.chronicle,
            usage,
        )
        seam = GuardedLoop(loop, self.errors.append)
        self.operator = Operator(
            self.supervisor, {}, overview, self.chronicle, usage, scoreboard, self.feed, seam
        )
        self.feed(ev.Begin())

    def feed(self, event: Event) -> None:
        actions = self.supervisor.handle(event, self.loop.time())
        self.actions += actions
        for action in actions:
            match action:
                case ev.Report():
                    self.chronicle.report(action)
                case ev.Spawn(worker):
                    self.feed(ev.Heard(worker, Listens()))
                    self.feed(ev.Heard(worker, Ready()))

    def turn(self) -> None:
        """All that was called soon."""
        self.loop.run_until_complete(asyncio.sleep(0))

    def refusals(self) -> list[str]:
        records, _ = self.chronicle.history.after(0)
        return [record.text for record in records if record.kind is Kind.REFUSED]


@pytest.fixture
def server() -> Iterator[Server]:
    board = Scoreboard.create(6)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        made = Server(board, loop)
        yield made
        made.exclusion.close()
    board.close()


def test_two_who_ask_to_stop_in_one_turn_have_it_stop_gracefully(server: Server) -> None:
    server.operator.stop()
    server.operator.stop()
    server.turn()
    assert not [action for action in server.actions if isinstance(action, ev.Kill)]
    assert len([action for action in server.actions if isinstance(action, ev.Tell)]) == 2, "two drain"
    with pytest.raises(RefusedError, match="stopping already"):
        server.operator.stop()


def test_a_stop_that_somebody_else_has_begun_meanwhile_is_not_made_harder(server: Server) -> None:
    server.operator.stop()
    server.feed(ev.StopRequested())  # SIGTERM, in the same turn
    server.turn()
    assert not [action for action in server.actions if isinstance(action, ev.Kill)]


def test_what_was_refused_is_not_done_after_all(server: Server) -> None:
    server.operator.drain(0)
    server.turn()
    server.operator.restart(0)
    with pytest.raises(RefusedError, match="out of service already"):
        server.operator.drain(0)
    server.turn()
    assert not server.supervisor.slots[0].drained
    assert server.refusals() == ["draining slot 0 refused: it is out of service already"]


def test_what_is_out_of_the_question_by_its_turn_is_refused_then(server: Server) -> None:
    server.operator.drain(0)
    server.operator.drain(1)
    server.turn()
    assert server.supervisor.slots[0].drained
    assert not server.supervisor.slots[1].drained
    assert len(server.refusals()) == 1
