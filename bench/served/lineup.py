"""Who is compared in the rows about balance, how each is started, and how a round of all of them goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from bench.kit.contest import UNPRIVILEGED, Running, running
from bench.kit.measure import interleaved
from bench.kit.row import Size
from bench.served.peers import OURS, UVICORN, Contestant, Setup, module

APP = "bench.served.labour:app"
MIGRATE = Path("/proc/sys/net/ipv4/tcp_migrate_req")
GIVES_UP = (OSError, RuntimeError, LookupError, ValueError)
"""What a contestant that does not start, answer or stay alive makes of a measurement (TimeoutError is an
OSError)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant and the command that its own is wrapped in: the privileges it runs with."""

    contestant: Contestant
    wrapper: tuple[str, ...] = UNPRIVILEGED
    workers: int | None = None
    """How many, where that is not the row's to say."""
    migrates: bool = False
    """Whether net.ipv4.tcp_migrate_req is set."""
    runtime: str = "python"

    @property
    def name(self) -> str:
        return self.contestant.name


def with_flags(contestant: Contestant, name: str, *flags: str) -> Contestant:
    """The same server under another name, with more flags."""

    def command(setup: Setup) -> list[str]:
        return [*contestant.command(setup), *flags]

    return replace(contestant, name=name, command=command)


def mode(name: str, *flags: str) -> Contestant:
    """A program of bench.served.modes."""

    def command(setup: Setup) -> list[str]:
        shape = ["--workers", str(setup.workers), "--port", str(setup.port)]
        return module(f"bench.served.modes.{name}", setup.app, *shape, *flags)

    return Contestant(name, ("uvicorn",), command, r"all \d+ workers accept")


STAY = "--no-rebalance"
_STEERED, _TURNS, _HASHED = (("--balance", way) for way in ("least-loaded", "round-robin", "hash"))

LEVEL_2 = Entry(with_flags(OURS, "level 2", *_STEERED), wrapper=())
ROUND_ROBIN = Entry(with_flags(OURS, "round robin", *_TURNS), wrapper=())
LEVEL_0 = Entry(with_flags(OURS, "level 0", *_HASHED))
LEVEL_2_STAY = Entry(with_flags(OURS, f"level 2 {STAY}", *_STEERED, STAY), wrapper=())
LEVEL_0_STAY = Entry(with_flags(OURS, f"level 0 {STAY}", *_HASHED, STAY))
UNFLAGGED = Entry(with_flags(OURS, "unflagged"))
"""reuseport without a word about balance and without a capability: compared only when asked for."""
PLAIN = Entry(mode("plain"))
MASTER = Entry(mode("master"))
SHARED = Entry(UVICORN)

RIVALS = (PLAIN, MASTER, SHARED)


@contextmanager
def started(
    entry: Entry, workers: int, app: str = APP, *, access_log: str | None = None
) -> Iterator[Running]:
    """An entry with all its workers up."""
    count = entry.workers or workers
    server = running(entry.contestant, workers=count, app=app, wrapper=entry.wrapper, access_log=access_log)
    with migrating(entry), server as one:
        yield one


@contextmanager
def migrating(entry: Entry) -> Iterator[None]:
    """net.ipv4.tcp_migrate_req of this network namespace as the entry wants it. Raises OSError."""
    if not entry.migrates:
        yield
        return
    before = MIGRATE.read_text(encoding="ascii")
    MIGRATE.write_text("1", encoding="ascii")
    try:
        yield
    finally:
        MIGRATE.write_text(before, encoding="ascii")


# ── what comes out ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of whom. `met` is None where nothing was promised: printed beside what was."""

    name: str
    text: str
    short: str
    met: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "met", False: "MISSED", None: "beside"}[self.met]
        return f"{self.name}: {verdict}: {self.short}\n    {self.text}"


@dataclass(frozen=True, slots=True)
class Trials(Generic[T]):
    """By name, what each round yielded, in order of the rounds; and why others gave up."""

    results: dict[str, list[T]] = field(default_factory=dict)
    gave_up: dict[str, str] = field(default_factory=dict)

    def failures(self) -> Iterator[Finding]:
        """Nobody is left out of the report."""
        for name, reason in self.gave_up.items():
            yield Finding(name, reason, "gave up", met=False)


def tried(
    entries: Sequence[Entry], rounds: int, workers: int, measure: Callable[[Running, int], T]
) -> Trials[T]:
    """Interleaved rounds, each with a fresh server; `measure` gets it and the number of the round.

    An entry that fails once is out, with all it did before: its rounds could not be paired any more.
    """
    trials: Trials[T] = Trials()
    for number, entry in interleaved(entries, rounds):
        if entry.name in trials.gave_up:
            continue
        try:
            with started(entry, workers) as one:
                result = measure(one, number)
        except GIVES_UP as error:
            trials.results.pop(entry.name, None)
            trials.gave_up[entry.name] = f"round {number + 1}: {type(error).__name__}: {str(error)[-600:]}"
        else:
            trials.results.setdefault(entry.name, []).append(result)
    return trials


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Within each round. Raises ValueError when the rounds are not the same."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True, slots=True)
class Row:
    """One promise about balance: `entries` are compared always, others when asked for."""

    name: str
    about: str
    goal: str
    scenario: Callable[[Sequence[Entry], Size], Iterator[Finding]]
    entries: tuple[Entry, ...]
