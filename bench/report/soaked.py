"""A run of `python -m bench.soak` as a picture over time, and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.kit.clients import Tally
from bench.report.page import STYLE
from bench.report.plots import LINE, OURS, THEIRS, svg
from bench.soaking.verdict import Finding
from bench.soaking.watch import Record


def picture(record: Record) -> str:
    """SVG: descriptors, PSS, latency and losses over time. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(9, 9), layout="constrained")
    descriptors, memory, latency, losses = figure.subplots(4, 1, sharex=True)
    times = [sample.at for sample in record.samples]
    rests = [rest.at for rest in record.rests]
    _line(descriptors, times, [sample.descriptors for sample in record.samples], "all, under load", THEIRS)
    _points(descriptors, rests, [rest.launcher_descriptors for rest in record.rests], "launcher, at rest")
    descriptors.set_ylabel("descriptors")
    _line(memory, times, [sample.pss for sample in record.samples], "all, under load", THEIRS)
    _points(memory, rests, [rest.pss for rest in record.rests], "all, at rest")
    memory.set_ylabel("PSS, MiB")
    _line(latency, times, [1e3 * sample.p50 for sample in record.samples], "p50", THEIRS)
    _line(latency, times, [1e3 * sample.p99 for sample in record.samples], "p99", OURS)
    latency.set_ylabel("ms, of a second")
    latency.set_yscale("symlog", linthresh=1)
    _line(losses, times, [sample.lost for sample in record.samples], "lost so far", OURS)
    for at, _ in record.crashes:
        losses.axvline(at, color=LINE, linewidth=0.5)
    losses.set_ylabel("lost; lines: crashes")
    losses.set_xlabel("seconds")
    for axes in (descriptors, memory, latency, losses):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper left", frameon=False, fontsize=8)
    drawn = svg(figure)
    pyplot.close(figure)
    return drawn


def _line(axes: Any, times: Sequence[float], figures: Sequence[float], label: str, color: str) -> None:
    axes.plot(times, figures, color=color, linewidth=1, label=label)


def _points(axes: Any, times: Sequence[float], figures: Sequence[float], label: str) -> None:
    axes.plot(times, figures, color=OURS, marker="o", markersize=3, linewidth=1, label=label)


def page(
    record: Record, tallies: Mapping[str, Tally], found: Sequence[Finding], drawn: str, command: str
) -> str:
    """The whole page."""
    rows = [(each.name, "met" if each.met else "MISSED", each.text) for each in found]
    rows += [(f"requests, {kind}", "", str(tally)) for kind, tally in tallies.items()]
    happened: dict[str, int] = {}
    for _, what in record.events:
        happened[what] = happened.get(what, 0) + 1
    told = ", ".join(f"{what}: {number}" for what, number in sorted(happened.items()))
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>reuseport, soaked</title>',
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
            "<h1>reuseport, soaked</h1>",
            f'<p class="note">{record.workers} workers, {record.now() / 60:.0f} minutes: {escape(told)}.</p>',
            f'<table class="words">{"".join(f"<tr>{line}</tr>" for line in cells)}</table>',
            drawn,
            f'<p class="note">Again: <code>{escape(command)}</code></p>',
            "</body></html>",
        ]
    )
