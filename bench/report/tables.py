"""A row of the comparison as a table of words, and what has to be said below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from statistics import median

from bench.kit.arithmetic import NOTHING, against, in_words, range_of, spread
from bench.kit.quiet import QUIET
from bench.kit.results import Contested, Measured, Metric

MANY = 12
"""Metrics of a row that are lines and not columns."""
LIMIT = 0.9
"""Cores of a load generator with one thread beyond which the figure may be the generator's own."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells in words; `notes` come below."""

    title: str
    command: str
    head: list[str]
    lines: list[list[str]]
    notes: list[str]


def table(row: Measured) -> Table:
    """Every contestant with every metric, and how the subject compares in the first of them; or, where there
    are MANY, a line for each metric and how the subject compares in all of them.
    """
    if len(row.metrics) >= MANY:
        return _turned(row)
    main = row.metrics[0]
    compares = [] if main.counted else [f"{row.subject} / it"]
    return Table(
        f"{row.name}: {row.about}",
        f"scripts/bench --only {row.name}",
        ["", *(_title(metric) for metric in row.metrics), *compares],
        [_line(row, one) for one in row.contestants],
        list(notes(row)),
    )


def _turned(row: Measured) -> Table:
    everybody = row.contestants
    return Table(
        f"{row.name}: {row.about}",
        f"scripts/bench --only {row.name}",
        [f"({row.subject} / it)", *(one.name for one in everybody)],
        [[_title(metric), *(_compared(row, one, metric) for one in everybody)] for metric in row.metrics],
        list(notes(row)),
    )


def _compared(row: Measured, one: Contested, metric: Metric) -> str:
    figures = [figure for figure in one.figures(metric.name) if not isnan(figure)]
    if not figures:
        return "error" if one.errors() else NOTHING
    text = metric.text(median(figures))
    ratio = against(row, row.subject, one.name, metric.name)
    if one.name == row.subject or ratio is None:
        return text
    return f"{text} ({ratio.middle:.2f}, {ratio.low:.2f} to {ratio.high:.2f})"


def _title(metric: Metric) -> str:
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def _line(row: Measured, one: Contested) -> list[str]:
    main, *others = row.metrics
    cells = [one.name, range_of(row, one.name, main.name)]
    for metric in others:
        figures = one.figures(metric.name)
        cells.append(metric.text(median(figures)) if figures else NOTHING)
    if one.errors():
        cells[1] = "error" if cells[1] == NOTHING else f"{cells[1]}, then an error"
    if not main.counted:
        same = one.name == row.subject
        cells.append("" if same else in_words(against(row, row.subject, one.name, main.name)))
    return cells


def notes(row: Measured) -> Iterator[str]:
    """Who failed and why, who is not here and why, and who else used the cores."""
    for contested in row.contestants:
        for outcome in contested.errors():
            yield f"ERROR {contested.name}, round {outcome.number + 1}: {outcome.error}"
    for one in row.beside:
        ratio = in_words(against(row, one.of, one.to, one.metric))
        title = row.metric(one.metric).title
        yield f"{one.of} / {one.to}, {title}: {ratio}; {one.source} has {one.theirs:.2f}"
    for reason in dict.fromkeys(row.absent.values()):
        yield f"not here: {', '.join(name for name, why in row.absent.items() if why == reason)}: {reason}"
    bound = [one.name for one in row.contestants if _median(one, "client_cores") >= LIMIT]
    if bound:
        names = ", ".join(bound)
        yield f"the load generator used {LIMIT:g} cores or more, so it may have been the limit: {names}"
    rounds = [outcome.figures for one in row.contestants for outcome in one.rounds if outcome.figures]
    disturbed = [figures for figures in rounds if figures.get("other_cores", 0.0) > QUIET]
    if disturbed:
        worst = max(figures["other_cores"] for figures in disturbed)
        yield (
            f"other programs and the kernel used more than {QUIET:g} cores in {len(disturbed)} of "
            f"{len(rounds)} measurements, {worst:.2f} at most"
        )


def _median(one: Contested, name: str) -> float:
    found = spread(one.figures(name))
    return found.middle if found else 0.0
