"""The row about connections that are kept: who asks on one while its worker is blocked."""

from __future__ import annotations

import time

from bench.kit.asking import Answer, Clients, at_once
from bench.kit.comparison import Measure, Trial
from bench.kit.contest import Running
from bench.kit.quiet import accounted
from bench.kit.results import Figures
from bench.rows.blocked import HELD_UP, SINCE
from bench.rows.figures import account, latencies, warm
from bench.served.lineup import started
from bench.served.peers import APP

KEPT = 16
"""Connections, wherever the server has put them; the first one blocks its worker."""
PATIENCE = 30.0


def kept_while_one_is_blocked(*, milliseconds: float, asleep: bool = False) -> Measure:
    """What the others wait for on their connections; `asleep`: the handler calls time.sleep, or computes."""

    def measure(trial: Trial) -> Figures:
        block = f"/block/{milliseconds:g}" if asleep else trial.slow(milliseconds)
        with started(trial.entry, 2, APP) as one:
            warm(one)
            answers, cores = accounted(one, lambda: asked_meanwhile(one, block))
        held = sum(answer.latency > HELD_UP for answer in answers)
        return {**latencies(answers), "held": held / len(answers), **account(cores, len(answers))}

    return measure


def asked_meanwhile(one: Running, block: str) -> list[Answer]:
    """Of all but the one that blocks. Raises RuntimeError when not all are answered, or asked in time."""
    with Clients(one.port) as clients:
        first, *others = [connection for connection, _ in at_once(clients, "/", KEPT, kept=True)]
        clients.ask(first, block, time.monotonic())
        early = clients.turn(time.monotonic() + SINCE)
        for connection in others:
            clients.ask(connection, "/", time.monotonic())
        everything = [answer for _, answer in [*early, *clients.answers(PATIENCE)]]
        if clients.failures or len(everything) != KEPT:
            raise RuntimeError(f"{len(everything)} answers, failed: {dict(clients.failures)}")
    over = next(answer.at for answer in everything if answer.path == block)
    answers = [answer for answer in everything if answer.path != block]
    if max(answer.due for answer in answers) > over:
        raise RuntimeError("the worker was free again before the others asked")
    return answers
