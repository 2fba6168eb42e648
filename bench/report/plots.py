"""Each row as a picture: medians with their range, the subject in another colour."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from bench.kit.arithmetic import spread
from bench.kit.results import Measured, Results

OURS, THEIRS, LINE = "#b5432a", "#8ba3b8", "#30363d"


def plots(results: Results) -> Iterator[tuple[str, str]]:
    """Name and SVG of each row that has figures. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    # Text stays text: smaller, and it can be searched. The seed makes identifiers the same each time.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    from matplotlib import pyplot

    for row in results.rows:
        if any(one.figures(row.metrics[0].name) for one in row.contestants):
            figure = pyplot.figure(layout="constrained")
            _draw(row, figure)
            yield row.name, svg(figure)
            pyplot.close(figure)


def _draw(row: Measured, figure: Any) -> None:
    metric = row.metrics[0]
    bars = [(one.name, found) for one in row.contestants if (found := spread(one.figures(metric.name)))]
    figure.set_size_inches(7.5, 0.9 + 0.28 * len(bars))
    axes = figure.subplots()
    for place, (name, found) in enumerate(reversed(bars)):
        middle, low, high = (metric.scale * value for value in (found.middle, found.low, found.high))
        axes.barh(place, middle, color=OURS if name == row.subject else THEIRS, height=0.7)
        axes.plot([low, high], [place, place], color=LINE, linewidth=1.5, marker="|", markersize=6)
    axes.set_yticks(range(len(bars)), [name for name, _ in reversed(bars)])
    better = "more is better" if metric.better == "higher" else "less is better"
    unit = f", {metric.unit}" if metric.unit else ""
    axes.set_xlabel(f"{metric.title}{unit}; median and range; {better}")
    axes.set_xlim(left=0)
    axes.spines[["top", "right"]].set_visible(False)


def svg(figure: Any) -> str:
    """The picture as an element of HTML."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    _, start, rest = text.getvalue().partition("<svg")
    return start + rest
