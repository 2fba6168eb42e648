"""What is scraped is written as prometheus_client would write it, to the byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from reuseport.admin.families import Family, Samples, go_float, openmetrics, plain
from reuseport.admin.metrics import METRICS
from tests.admin.statuses import status

NAMES = st.from_regex(r"[a-z][a-z_]{0,8}[a-z]", fullmatch=True).filter(lambda name: "_total" not in name)
FIGURES = st.none() | st.floats() | st.integers(0, 2**70) | st.booleans()


@st.composite
def families(draw: st.DrawFn) -> list[Family]:
    made = []
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        kind = draw(st.sampled_from(["gauge", "counter", "histogram"]))
        endings = {"gauge": [""], "counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}[kind]
        samples = []
        for ending in endings:
            labels = tuple(draw(st.lists(NAMES, max_size=3, unique=True)))
            values = st.tuples(*[st.text(max_size=5) for _ in labels])
            samples.append(
                Samples(name + ending, labels, draw(st.lists(st.tuples(values, FIGURES), max_size=3)))
            )
        shown = name + endings[0] if kind != "histogram" else name
        made.append(Family(shown, kind, draw(st.text(max_size=9)), tuple(samples)))
    return made


class Theirs:
    """The same as the client library takes it."""

    def __init__(self, made: Iterable[Family]) -> None:
        self._made = list(made)

    def collect(self) -> Iterable[Metric]:
        for family in self._made:
            metric = Metric(family.name.removesuffix("_total"), family.about, family.kind)
            metric.samples = [
                Sample(each.name, dict(zip(each.labels, values, strict=True)), figure)
                for each in family.samples
                for values, figure in each.readings
                if figure is not None
            ]
            yield metric


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(plain, generate_latest), (openmetrics, generate_openmetrics)],
    ids=["plain", "openmetrics"],
)
@given(families())
def test_any_families(
    ours: Callable[[Iterable[Family]], bytes], theirs: Callable[[Theirs], bytes], made: list[Family]
) -> None:
    assert ours(made) == theirs(Theirs(made))


def test_those_of_a_server() -> None:
    def made() -> list[Family]:
        return [each.family(status(3)) for each in METRICS]

    assert plain(made()) == generate_latest(Theirs(made()))


@given(st.floats() | st.integers(-(2**70), 2**70))
def test_any_figure(figure: float) -> None:
    theirs: Callable[[float], str] = floatToGoString
    assert go_float(figure) == theirs(figure)
