"""The comparison: distribution modes and real servers on one machine, in interleaved rounds.

    scripts/bench [--quick] [--only ROW] [--rounds N] [--compare OLD.json] [--output DIR]

Everything happens in a network namespace of its own, with the kernel's default sysctls, on loopback. Steering
needs root (CAP_BPF); without it those contestants are errors in the report, and all others are measured.
"""

from __future__ import annotations

import argparse
import compileall
import resource
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.kit.calibration import Calibration
from bench.kit.changes import changes
from bench.kit.comparison import Pace, Row, Step, measured
from bench.kit.contest import enter_namespace
from bench.kit.machine import described
from bench.kit.results import Results, read, written
from bench.report.page import page
from bench.report.plots import plots
from bench.report.tables import table
from bench.report.text import aligned, claims, markdown
from bench.rows.table import ROWS
from bench.served.lineup import Entry

QUICK = Pace(rounds=1, scale=0.4)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, report."""
    arguments, older = parsed(sys.argv[1:])
    if arguments.list:
        listed()
        return
    chosen = [row for row in ROWS if not arguments.only or row.name in arguments.only]
    work = [(row, entries) for row in chosen if (entries := entries_of(row, arguments))]
    enter_namespace()
    # Without a handler it would end this program and leave the servers, each in a session of its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    now = datetime.now(UTC)
    output = arguments.output or RESULTS / now.strftime("%Y-%m-%d-%H%M%S")
    # As pip does it for the others. With PYTHONDONTWRITEBYTECODE each start of ours would compile everything
    # anew: 0.9 s instead of 0.3.
    for package in ("reuseport", "bench"):
        compileall.compile_dir(Path(__file__).parents[1] / package, quiet=2)
    # Before the minutes of measuring, not after them.
    output.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["scripts/bench", *sys.argv[1:]])
    results = Results(command, now.isoformat(timespec="seconds"), described())
    try:
        run(results, work, pace(arguments), output / "results.json")
    finally:
        report(results, older, output)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--list", action="store_true", help="the rows, and who is in them")
    made.add_argument("--quick", action="store_true", help="one short round of few contestants, 3 minutes")
    made.add_argument("--only", metavar="ROW", action="append", help="this row; repeatable")
    made.add_argument("--contestant", metavar="NAME", action="append", help="this one; repeatable")
    made.add_argument(
        "--rounds", metavar="N", type=int, help=f"default {Pace().rounds}; {QUICK.rounds} if quick"
    )
    made.add_argument("--compare", metavar="OLD.json", type=Path, help="what changed since, beyond noise")
    made.add_argument("--output", metavar="DIR", type=Path, help="default bench/results/DATE")
    return made


def parsed(arguments: Sequence[str]) -> tuple[argparse.Namespace, Results | None]:
    """What is asked for, and the older results to compare with; status 2 for what does not exist."""
    made = parser()
    given = made.parse_args(arguments)
    rows = [row.name for row in ROWS]
    contestants = list(dict.fromkeys(entry.name for row in ROWS for entry in row.entries))
    for what, asked, known in (("row", given.only, rows), ("contestant", given.contestant, contestants)):
        if unknown := [name for name in asked or () if name not in known]:
            made.error(f"no {what} {', '.join(unknown)}: the {what}s are {', '.join(known)}")
    if given.rounds is not None and given.rounds < 1:
        made.error("--rounds is 1 at least")
    try:
        return given, read(given.compare) if given.compare else None
    except (OSError, ValueError) as error:
        made.error(str(error))


def pace(arguments: argparse.Namespace) -> Pace:
    """As asked for."""
    usual = QUICK if arguments.quick else Pace()
    return Pace(arguments.rounds or usual.rounds, usual.scale)


def entries_of(row: Row, arguments: argparse.Namespace) -> Sequence[Entry]:
    """Who takes part in a row."""
    if arguments.contestant:
        return [entry for entry in row.entries if entry.name in arguments.contestant]
    return row.quick if arguments.quick else row.entries


def listed() -> None:
    """One line a row, one for who is in it."""
    for row in ROWS:
        print(f"{row.name}: {row.about}\n    {', '.join(entry.name for entry in row.entries)}")


def run(results: Results, work: Sequence[tuple[Row, Sequence[Entry]]], pace: Pace, file: Path) -> None:
    """Row after row; the file is whole after each."""
    begun = time.monotonic()
    calibration = Calibration()
    total, done = sum(len(entries) for _, entries in work) * pace.rounds, 0
    for row, entries in work:
        for measured_row, step in measured(row, entries, pace, calibration):
            if not results.rows or results.rows[-1] is not measured_row:
                results.rows.append(measured_row)
            done += 1
            progress(step, done, total, time.monotonic() - begun)
        results.calibration = {**calibration.per_millisecond, **calibration.failures}
        results.seconds = time.monotonic() - begun
        written(results, file)
        print(f"\n{aligned(table(results.rows[-1]))}\n", flush=True)


def progress(step: Step, done: int, total: int, seconds: float) -> None:
    """One line for each measurement, on stderr."""
    outcome, metric = step.outcome, step.row.metrics[0]
    said = outcome.error or f"{metric.text(outcome.figures[metric.name])} {metric.unit or metric.title}"
    left = seconds / done * (total - done)
    print(
        f"[{done}/{total}, {left / 60:.0f} min left] {step.row.name}, round {outcome.number + 1}, "
        f"{step.contested.name}: {said.splitlines()[-1][:120]}",
        file=sys.stderr,
        flush=True,
    )


def report(results: Results, older: Results | None, output: Path) -> None:
    """All files, and what was expected in words."""
    changed = list(changes(older, results)) if older else []
    pictures: dict[str, str] = {}
    try:
        pictures.update(plots(results))
    except ImportError as error:
        results.notes.append(f"no plots: {error}: install the dependency group bench")
    written(results, output / "results.json")
    for name, picture in pictures.items():
        (output / f"{name}.svg").write_text(picture, encoding="utf-8")
    (output / "table.md").write_text(markdown(results), encoding="utf-8")
    (output / "report.html").write_text(page(results, pictures, changed), encoding="utf-8")
    for line in (*claims(results), *changed, *results.notes):
        print(line)
    print(f"{output / 'report.html'}, results.json, table.md")


if __name__ == "__main__":
    main()
