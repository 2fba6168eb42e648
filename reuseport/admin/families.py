"""Families of samples in the two text formats that Prometheus reads: its own (0.0.4), and OpenMetrics 1.0.

Not by prometheus_client, which the tests compare this with: it brings along an HTTP server, an HTTP client
and WSGI, 1.6 MiB in a launcher that is held for months, and takes three times as long for each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

Labels: TypeAlias = tuple[str, ...]
Readings: TypeAlias = Iterable[tuple[Labels, float | None]]
"""Values of the labels and the figure; None where nobody knows it, and then it is left out."""

_WHOLE = 6
"""Digits before the point from which on Go writes an exponent where Python does not."""


class Samples(NamedTuple):
    """Of one name."""

    name: str
    labels: Labels
    readings: Readings


class Family(NamedTuple):
    """`name` as its samples have it, of a counter with `_total`; of a histogram without their endings."""

    name: str
    kind: str
    about: str
    samples: tuple[Samples, ...]


def plain(families: Iterable[Family]) -> bytes:
    """In Prometheus' own format."""
    written: list[str] = []
    for family in families:
        about = family.about.replace("\\", r"\\").replace("\n", r"\n")
        _write(written, family, family.name, about)
    return "".join(written).encode()


def openmetrics(families: Iterable[Family]) -> bytes:
    """In OpenMetrics, which calls a family of counters without the ending of its samples."""
    written: list[str] = []
    for family in families:
        _write(written, family, family.name.removesuffix("_total"), _escaped(family.about))
    return "".join([*written, "# EOF\n"]).encode()


def _write(written: list[str], family: Family, name: str, about: str) -> None:
    written.append(f"# HELP {name} {about}\n# TYPE {name} {family.kind}\n")
    for each in family.samples:
        order = sorted(range(len(each.labels)), key=each.labels.__getitem__)
        for values, figure in each.readings:
            if figure is None:
                continue
            labels = ",".join([f'{each.labels[at]}="{_escaped(values[at])}"' for at in order])
            shown = f"{{{labels}}}" if labels else ""
            written.append(f"{each.name}{shown} {go_float(figure)}\n")


def _escaped(text: str) -> str:
    if text.isalnum():
        return text
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def go_float(figure: float) -> str:
    """As Go writes it: a bound of a histogram is part of its series' name, and must not change."""
    text = repr(float(figure))
    match text:
        case "inf":
            return "+Inf"
        case "-inf":
            return "-Inf"
        case "nan":
            return "NaN"
    point = text.find(".")
    if figure > 0 and point > _WHOLE:
        mantissa = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{point - 1:02d}"
    return text
