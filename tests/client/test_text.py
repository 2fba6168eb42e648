"""What is shown on a terminal: harmless, aligned, short."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.client.text import age, clean, cleaned, clock, columns, record_line, size, span


@given(st.text(st.characters()))
def test_nothing_reaches_the_terminal_that_is_not_printable(text: str) -> None:
    assert clean(text).isprintable()
    assert all(line.isprintable() for line in cleaned(text).split("\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("red \x1b[31m", "red \\x1b[31m"),
        ("\x9b2J", "\\x9b2J"),
        ("a\rb", "a\\rb"),
        ("right \u202eto left", "right \\u202eto left"),
        ("half \ud800", "half \\ud800"),
        ("läden · 店", "läden · 店"),
    ],
)
def test_what_is_not_printable_is_spelled_out(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_traceback_keeps_its_lines() -> None:
    assert cleaned('Traceback:\n\tFile "a"\nError\x07\n') == 'Traceback:\n        File "a"\nError\\x07'


def test_columns_are_aligned() -> None:
    rows = [["slot", "state"], ["0", "ready"], ["12", "backoff"]]
    assert columns(rows, right={0}) == ["slot  state", "   0  ready", "  12  backoff"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m0s"), (200, "3m20s"), (7380, "2h3m"), (446400, "5d4h")],
)
def test_an_age_has_two_units(seconds: float, shown: str) -> None:
    assert age(seconds) == shown


def test_short_spans_and_sizes() -> None:
    assert [span(value) for value in (0.0004, 0.0123, 0.9, 1.25)] == ["0.4ms", "12ms", "900ms", "1.2s"]
    assert [size(value) for value in (None, 2048, 36 << 20, 2 << 30, 12 << 30)] == [
        "-", "2K", "36M", "2048M", "12.0G"
    ]  # fmt: skip


def test_the_time_has_a_date_when_it_is_not_of_today() -> None:
    assert len(clock(time.time())) == len("12:34:56")
    assert len(clock(0.0)) == len("1970-01-01 00:00:00")


def test_a_record_is_one_line_however_long_its_traceback() -> None:
    record: dict[str, Any] = {
        "time": time.time(),
        "level": "error",
        "text": "it failed: Traceback\n  File\nKeyError: 1\n",
    }
    line = record_line(record)
    assert line.endswith("error   it failed: Traceback ... KeyError: 1")
    assert "\n" not in line
