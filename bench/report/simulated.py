"""The simulation in words, tables and curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from bench.report.plots import svg
from bench.report.text import bar
from bench.served.field import REUSEPORT
from bench.simulation.load import rate
from bench.simulation.measuring import CHECKED_ON, Measurements
from bench.simulation.queueing import Worker
from bench.simulation.study import SIMULATED, SYN_NS, USES, Checked, Herd, Kept, Point, breaks_down

ENDLESS = 10.0
"""Seconds: beyond, a queue only grows, and its length tells how long was simulated."""


def told(
    found: Measurements,
    worker: Worker,
    checks: Sequence[Checked],
    points: Sequence[Point],
    pools: Sequence[Kept],
    herds: Sequence[Herd],
    date: str,
) -> Iterator[str]:
    """Markdown."""
    yield f"# The modes on many workers, simulated ({date})"
    yield ""
    yield from _check(found, worker, checks)
    yield from _scale(points)
    yield from _distribution(found, herds, sorted({point.workers for point in points}))
    yield from _kept(pools)


def _check(found: Measurements, worker: Worker, checks: Sequence[Checked]) -> Iterator[str]:
    yield "## Measured and simulated: a tenth of the requests blocks its worker for 50 to 200 ms"
    yield ""
    yield (
        f"{found.used:.0%} of the workers' time is used. Calibrated on 2 workers: a request costs "
        f"{worker.overhead * 1e6:.0f} µs, accepted ahead: {worker.ahead}; {CHECKED_ON} workers are a check. "
        f"Other programs used {found.other_cores:.2f} cores at most."
    )
    yield ""
    yield from (f"- ERROR {what}: {reason}" for what, reason in found.failures.items())
    head = ["workers", "contestant", "mean, ms", "simulated", "p99, ms", "simulated", "error of the p99"]
    rows = []
    for one in checks:
        figures = (_ms(value) for value in (*one.mean, *one.p99))
        rows.append([str(one.workers), one.name, *figures, f"{one.error:.0%}"])
    yield from _table(head, rows)
    unseen = [one for one in checks if one.workers == CHECKED_ON]
    for title, errors in (
        ("p99", {one.name: one.error for one in unseen}),
        ("mean", {one.name: one.mean_error for one in unseen}),
    ):
        worst = max(errors, key=lambda name: errors[name])
        yield (
            f"On {CHECKED_ON} workers the simulated {title} is off by {median(errors.values()):.0%} in the "
            f"median, by {errors[worst]:.0%} at worst ({worst})."
        )
    yield ""


def _scale(points: Sequence[Point]) -> Iterator[str]:
    modes, sizes = (
        list(dict.fromkeys(point.mode for point in points)),
        sorted({one.workers for one in points}),
    )
    known = {(point.mode, point.used, point.workers): point.p99 for point in points}
    for used in USES:
        yield f"## p99 of the quick requests in ms, {used:.0%} of the workers' time used"
        yield ""
        rows = []
        for mode in modes:
            broken = breaks_down(list(points), mode, used)
            since = "never" if broken is None else f"from {broken} on"
            rows.append([mode, *(_ms(known[mode, used, size]) for size in sizes), since])
        yield from _table(["mode, workers", *map(str, sizes), "twice one queue's"], rows)
    yield from _cost_of_64(known, sizes)


def _cost_of_64(known: dict[tuple[str, float, int], float], sizes: Sequence[int]) -> Iterator[str]:
    """What our design costs where it stops to look at everybody."""
    beyond = [size for size in sizes if size > max(SYN_NS)]
    if not beyond:
        return
    ours, all_of_them = SIMULATED[REUSEPORT.name].name, "least-loaded of all"
    texts = [
        f"{_ms(known[ours, used, size])} ms instead of {_ms(known[all_of_them, used, size])} "
        f"on {size} workers at {used:.0%}"
        for size in beyond
        for used in USES
    ]
    yield f"Beyond 64 workers reuseport compares two at random. What that costs, p99: {'; '.join(texts)}."
    yield ""


def _distribution(found: Measurements, herds: Sequence[Herd], sizes: Sequence[int]) -> Iterator[str]:
    yield "## What distributing itself costs"
    yield ""
    costs = sorted({int(size) for cost in found.cost.values() for size in cost})
    more = {herd.name: f"{herd.more * 1e6:.2f}" for herd in herds}
    rows = []
    for name, cost in found.cost.items():
        measured = (f"{cost[str(size)] * 1e6:.0f}" if str(size) in cost else "error" for size in costs)
        rows.append([name, *measured, more.get(name, "")])
    head = [
        "CPU time of a connection in µs, measured; workers",
        *map(str, costs),
        "a worker more",
    ]
    yield from _table(head, rows)
    yield (
        "A worker more: beyond what it costs where workers share nothing. Cores that go into it under the "
        "load above, 60% used, if it goes on as measured:"
    )
    yield ""
    rows = []
    for size in sizes:
        arriving = rate(size, 0.6)
        grown = (f"{arriving * herd.more * size:.2f}" for herd in herds)
        passed = f"{arriving * found.serial:.2f}"
        rows.append([str(size), f"{arriving:,.0f}", *grown, passed, f"{arriving * SYN_NS[64] / 1e9:.4f}"])
    names = [herd.name for herd in herds]
    yield from _table(["workers", "connections/s", *names, "the master itself, of 1", "steering"], rows)
    if found.serial:
        yield (
            f"A master that spends {found.serial * 1e6:.0f} µs on a connection passes "
            f"{1 / found.serial:,.0f} a second, however many workers there are. Behind one listener every "
            "idle worker wakes for every connection. The steering program runs where a connection arrives, "
            "on every core at once."
        )
        yield ""


def _kept(pools: Sequence[Kept]) -> Iterator[str]:
    yield "## Kept connections, 8 for each worker, of unequal appetite, 60% used"
    yield ""
    sizes = sorted({one.workers for one in pools})
    known = {(one.landing, one.rebalanced, one.workers): one for one in pools}
    rows = []
    for landing, rebalanced in dict.fromkeys((one.landing, one.rebalanced) for one in pools):
        cells = (known[landing, rebalanced, size] for size in sizes)
        name = f"{landing}{', rebalanced' if rebalanced else ''}"
        rows.append([name, *(f"{_ms(one.p99)} · {one.busiest:.2f}" for one in cells)])
    yield from _table(["p99 in ms · busiest of the mean; workers", *map(str, sizes)], rows)


def _ms(seconds: float) -> str:
    if seconds > ENDLESS:
        return "endless"
    return f"{seconds * 1e3:,.0f}" if seconds >= 0.0095 else f"{seconds * 1e3:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield bar(head)
    yield bar(["---"] * len(head))
    for row in rows:
        yield bar(row)
    yield ""


def curves(points: Sequence[Point], pools: Sequence[Kept]) -> str:
    """p99 over workers, as SVG. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9})
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(1, len(USES) + 1)
    for place, used in zip(axes, USES, strict=False):
        for mode in dict.fromkeys(point.mode for point in points):
            mine = [point for point in points if point.mode == mode and point.used == used]
            _curve(place, mine, mode, thick=mode == SIMULATED[REUSEPORT.name].name)
        place.set_title(f"new connections, {used:.0%} used")
    for landing, rebalanced in dict.fromkeys((one.landing, one.rebalanced) for one in pools):
        those = [one for one in pools if (one.landing, one.rebalanced) == (landing, rebalanced)]
        _curve(axes[-1], those, f"{landing}{', rebalanced' if rebalanced else ''}", thick=rebalanced)
    axes[-1].set_title("kept connections")
    axes[0].set_ylabel("p99, ms")
    for place in (axes[0], axes[-1]):
        place.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    text = svg(figure)
    pyplot.close(figure)
    return text


def _curve(axes: Any, those: Sequence[Point | Kept], name: str, *, thick: bool) -> None:
    ordered = sorted(those, key=lambda one: one.workers)
    width = 2.4 if thick else 1.0
    axes.loglog([one.workers for one in ordered], [one.p99 * 1e3 for one in ordered], label=name, lw=width)
    axes.set_xlabel("workers")
    axes.set_xticks([one.workers for one in ordered], [str(one.workers) for one in ordered], rotation=90)
    axes.minorticks_off()
