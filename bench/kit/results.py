"""What a comparison yields, as plain data: written to JSON whole, and read again to be compared with.

Nothing is left out: a round that failed is there with its reason, in the place of its figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORM = 1
"""Of the file; another one is not read."""

MANY = 1000.0

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of a round: `name` is its key there, `scale` turns it into `unit`, `form` prints it.

    `better` is "higher" or "lower". What is `counted` is often 0, and has no ratio.
    """

    name: str
    title: str
    unit: str = ""
    better: str = "lower"
    scale: float = 1.0
    form: str = ",.0f"
    counted: bool = False

    def text(self, figure: float) -> str:
        """As reports print it, without the unit; thousands have no decimals."""
        scaled = figure * self.scale
        return f"{scaled:{self.form if abs(scaled) < MANY else ',.0f'}}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What was expected before it was measured: of a figure, or of its ratio to another contestant's.

    It has a `least` or a `most`.
    """

    of: str
    metric: str
    to: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def goal(self) -> float:
        """The limit. Raises ValueError for a claim without one."""
        goal = self.most if self.least is None else self.least
        if goal is None:
            raise ValueError(f"the claim about {self.of} has no limit")
        return goal


@dataclass(frozen=True, slots=True)
class Beside:
    """A ratio of two contestants that somebody else has measured, too: `theirs`, who says so in `source`."""

    of: str
    to: str
    metric: str
    theirs: float
    source: str


@dataclass(slots=True)
class Outcome:
    """One contestant in one round: figures, or the reason why there are none."""

    number: int
    figures: dict[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(slots=True)
class Contested:
    """One contestant of a row."""

    name: str
    versions: str = ""
    rounds: list[Outcome] = field(default_factory=list)

    def figures(self, metric: str) -> list[float]:
        """Of every round that has it."""
        return [one.figures[metric] for one in self.rounds if metric in one.figures]

    def errors(self) -> list[Outcome]:
        """The rounds that failed."""
        return [one for one in self.rounds if one.error]


@dataclass(slots=True)
class Measured:
    """One row. The first of its metrics is what it is about; `absent` says who cannot take part, and why."""

    name: str
    about: str
    subject: str
    metrics: list[Metric]
    claims: list[Claim]
    absent: dict[str, str]
    beside: list[Beside] = field(default_factory=list)
    contestants: list[Contested] = field(default_factory=list)

    def of(self, name: str) -> Contested | None:
        """A contestant, if it took part."""
        return next((one for one in self.contestants if one.name == name), None)

    def metric(self, name: str) -> Metric:
        """A metric by its name. Raises LookupError."""
        found = next((one for one in self.metrics if one.name == name), None)
        if found is None:
            raise LookupError(f"row {self.name} has no metric {name!r}")
        return found


@dataclass(slots=True)
class Results:
    """One run of the comparison."""

    command: str
    begun: str
    machine: dict[str, Any]
    seconds: float = 0.0
    calibration: dict[str, Any] = field(default_factory=dict)
    rows: list[Measured] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What went wrong outside of rows."""
    form: int = FORM

    def of(self, name: str) -> Measured | None:
        """A row, if it was measured."""
        return next((row for row in self.rows if row.name == name), None)


def written(results: Results, file: Path) -> None:
    """As JSON."""
    file.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> Results:
    """What `written` wrote. Raises ValueError for another file, OSError where there is none."""
    found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("form") != FORM:
        raise ValueError(f"{file} is no result of this version of the bench")
    rows = [_row(row) for row in found.pop("rows")]
    return Results(**found, rows=rows)


def _row(row: dict[str, Any]) -> Measured:
    contestants = [
        Contested(one["name"], one["versions"], [Outcome(**outcome) for outcome in one["rounds"]])
        for one in row.pop("contestants")
    ]
    lists = {"metrics": Metric, "claims": Claim, "beside": Beside}
    parts: dict[str, Any] = {name: [kind(**one) for one in row.pop(name)] for name, kind in lists.items()}
    return Measured(**row, **parts, contestants=contestants)
