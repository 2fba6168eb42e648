"""Tables for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bench.kit.arithmetic import against, judged, spread
from bench.kit.results import Measured, Results
from bench.report.tables import Table

SHOWN = (
    "reuseport",
    "single",
    "shared listener",
    "master",
    "uvicorn --workers",
    "gunicorn asgi",
    "granian",
    "node cluster rr",
)
"""The columns of the table in bench/README.md; the report has everybody."""


def aligned(table: Table) -> str:
    """For a terminal: the first column to the left, figures to the right."""
    widths = [max(len(line[n]) for line in (table.head, *table.lines)) for n in range(len(table.head))]

    def joined(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]).rstrip()

    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [table.title, rule, joined(table.head), *(joined(line) for line in table.lines), rule]
    return "\n".join([*lines, *(f"  {note}" for note in table.notes), f"  again: {table.command}"])


def claims(results: Results) -> Iterator[str]:
    """What was expected, and what came out."""
    for row in results.rows:
        for one in judged(row):
            yield f"{row.name}: {one.expected}: {one.verdict}: {one.found}"


def lost(row: Measured) -> Iterator[str]:
    """Who is better than the subject in the first metric, in every round."""
    metric = row.metrics[0]
    for one in row.contestants:
        ratio = None if metric.counted else against(row, one.name, row.subject, metric.name)
        if ratio is None or ratio.crosses(1.0):
            continue
        if (ratio.middle > 1.0) == (metric.better == "higher"):
            yield f"{row.name}, {metric.title}: {one.name} has {ratio.middle:.2f} times {row.subject}'s"


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────────


def markdown(results: Results) -> str:
    """For bench/README.md: one line a row, then what was expected, then where the subject loses."""
    shown = [name for name in SHOWN if any(row.of(name) for row in results.rows)]
    lines = [
        machine_line(results.machine, results.begun),
        "",
        bar(["row, median", *shown]),
        bar(["---"] * (len(shown) + 1)),
        *(bar([_about(row), *(_cell(row, name) for name in shown)]) for row in results.rows),
        "",
        bar(["expected", "found", ""]),
        bar(["---"] * 3),
        *(
            bar([f"`{row.name}`: {one.expected}", one.found, one.verdict])
            for row in results.rows
            for one in judged(row)
        ),
        "",
        "Who is better than we are, in every round:",
        "",
        *(f"- {line}" for row in results.rows for line in lost(row)),
    ]
    return "\n".join(lines) + "\n"


def machine_line(machine: dict[str, Any], begun: str) -> str:
    """Date and machine in a sentence."""
    versions = machine["versions"]
    shown = ("reuseport", "uvicorn", "gunicorn", "granian", "hypercorn", "node", "express")
    return (
        f"{begun[:10]}, {machine['cores']} cores ({machine['processor']}), Linux {machine['kernel']}, "
        f"Python {machine['python']}, {', '.join(f'{name} {versions[name]}' for name in shown)}."
    )


def _about(row: Measured) -> str:
    metric = row.metrics[0]
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"`{row.name}`: {row.about}; {metric.title}{unit}"


def _cell(row: Measured, name: str) -> str:
    one, metric = row.of(name), row.metrics[0]
    if one is None:
        return ""
    found = spread(one.figures(metric.name))
    if found is None or one.errors():
        return "error"
    text = metric.text(found.middle)
    return f"**{text}**" if name == row.subject else text


def bar(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
