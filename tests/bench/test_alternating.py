"""A worker that serves in several ways in turn: in each it answers, and only some are logged."""

from __future__ import annotations

import json
from pathlib import Path

from bench.served.alternating import WAYS
from tests.conftest import Launch
from tests.whole.lines import Line, wait_until

ROOT = Path(__file__).parents[2]


def test_each_way_answers_and_two_of_four_are_logged(launch: Launch, tmp_path: Path) -> None:
    account, log = tmp_path / "account", tmp_path / "log"
    server = launch(
        "plain:app",
        *("--http", "bench.served.alternating:Alternating", "--access-log-file", str(log)),
        env={"BENCH_ACCOUNT": str(account), "PYTHONPATH": str(ROOT)},
    ).ready(1)
    asked = 0
    with Line(server.port) as line:

        def asked_in_every_way() -> bool:
            nonlocal asked
            for _ in range(10):
                assert line.ask().status == 200
                asked += 1
            turns = json.loads(account.read_text()) if account.exists() else {}
            return all(any(answered for _, answered in turns.get(way, [])) for way in WAYS)

        wait_until(asked_in_every_way)
    assert server.stop() == 0
    assert 0 < len(log.read_text().splitlines()) < asked
