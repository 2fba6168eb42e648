"""What do stealing and rescue cost when nothing blocks? CPU time and wake-ups, with and without, in pairs.

`connection`: one request on each new connection, from few clients, so that workers have something to do and
sleep in turn; `request`: kept connections; `computing`: the same, each request 15 to 20 ms of CPU: with more
workers than CPUs that lasts for longer than the rescue waits. A round has two fresh servers, and the load
goes to and fro between them in slices of a second. Goals: CPU of launcher and workers at most 1.03 times per
connection, none per request. Two servers alike differ by up to 5 % where requests compute (bench/README.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from bench.kit.measure import Server, announce, cpu_seconds, interleaved, reuseport, spread, wrk

RATIO = 1.03
SLICE = 1.0
FEATURES = {"stealing": "--no-stealing", "rescue": "--no-rescue"}
LOADS: dict[str, tuple[str, Sequence[str]]] = {
    "connection": ("/", ("-H", "Connection: close")),
    "request": ("/", ()),
    "computing": ("/api/1000000", ()),
}
"""Path, and options of wrk."""


@dataclass(slots=True)
class Account:
    """A server in one round: what it has answered, and what that took."""

    server: Server
    answered: int = 0
    errors: int = 0
    spent: float = 0.0
    woken: int = 0

    def load(self, clients: int, path: str, more: Sequence[str]) -> None:
        """One slice."""
        everything = [self.server.process, *self.server.children()]
        spent, woken = cpu_seconds(everything), _sleeps(self.server)
        done = wrk(self.server.url + path, clients, SLICE, more=more)
        self.spent += cpu_seconds(everything) - spent
        self.woken += _sleeps(self.server) - woken
        self.answered += done.requests
        self.errors += done.errors

    def forget(self) -> None:
        """What came so far warmed it up."""
        self.answered = self.errors = self.woken = 0
        self.spent = 0.0

    def __str__(self) -> str:
        cost, wakes = self.spent / self.answered * 1e6, self.woken / self.answered
        return f"{cost:.1f} µs and {wakes:.3f} wake-ups each, {self.answered} answered, {self.errors} errors"


def _sleeps(server: Server) -> int:
    """How often workers have gone to sleep, and so were woken."""
    return sum(worker.num_ctx_switches().voluntary for worker in server.children())


def main() -> None:
    """Measure in rounds, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.idleness", description=__doc__)
    parser.add_argument("feature", choices=FEATURES)
    parser.add_argument("load", choices=LOADS)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--balance", default="hash")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=4, help="of a second, for each server in each round")
    arguments = parser.parse_args()
    announce(arguments)

    flags = ("reuseport.demo:app", "--balance", arguments.balance, "--no-access-log", "--no-control")
    costs, wakes = [], []
    for number in range(arguments.rounds):
        both = [flags, (*flags, FEATURES[arguments.feature])]
        # Who is started first is not always the same: two alike differ by that, too.
        with (
            reuseport(arguments.workers, *both[number % 2]) as one,
            reuseport(arguments.workers, *both[1 - number % 2]) as other,
        ):
            ours, theirs = (Account(one), Account(other))[:: 1 - 2 * (number % 2)]
            for account in (ours, theirs):
                account.load(arguments.clients, *LOADS[arguments.load])
                account.forget()
            for _, account in interleaved((ours, theirs), arguments.slices):
                account.load(arguments.clients, *LOADS[arguments.load])
        costs.append(ours.spent / ours.answered / (theirs.spent / theirs.answered))
        wakes.append(ours.woken / ours.answered / (theirs.woken / theirs.answered))
        print(f"round {number + 1}: with it {ours}; without {theirs}; CPU {costs[-1]:.3f}", flush=True)
    print(f"{arguments.feature}, per {arguments.load}: CPU {spread(costs)} times (goal {RATIO}), ", end="")
    print(f"wake-ups {spread(wakes)} times")


if __name__ == "__main__":
    main()
