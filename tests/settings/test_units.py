"""Durations and sizes: what is written is what is read, and everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reuseport.settings.units import LONGEST_DURATION, format_duration, parse_duration, parse_size

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1s500ms", 1.5),
        ("2d", 172800.0),
        ("1.5m", 90.0),
        ("30", 30.0),
        ("0.1", 0.1),
        (" 30s ", 30.0),
        (30, 30.0),
        (0.25, 0.25),
        ("0", 0.0),
        ("none", 0.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "-5s",
        "-1",
        -1,
        "30m1h",
        "5s5s",
        "1h 30m",
        "5 s",
        "s",
        "nan",
        "inf",
        "1e3",
        "٣s",
        True,
    ],
)
def test_what_is_no_duration_is_refused_with_the_form_to_write(text: str | float) -> None:
    with pytest.raises(ValueError, match="write 30s, 5m"):
        parse_duration(text)


def test_a_duration_beyond_ten_years_is_refused() -> None:
    assert parse_duration("3650d") == LONGEST_DURATION
    with pytest.raises(ValueError, match="at most 3650d"):
        parse_duration("9" * 400 + "d")


@given(st.floats(min_value=0, max_value=LONGEST_DURATION))
def test_a_formatted_duration_is_read_back_exactly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (30, "30s"), (90, "1m30s"), (5400, "1h30m"), (0.25, "0.25s"), (1e-07, "0.0000001s")],
)
def test_a_duration_is_formatted_in_its_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(
    st.integers(min_value=0, max_value=2**60),
    st.sampled_from(list(UNITS)),
    st.sampled_from(["", "B", "iB", "b", "ib"]),
)
def test_a_size_is_read_as_powers_of_1024_however_it_is_spelled(
    number: int, prefix: str, suffix: str
) -> None:
    expected = number * UNITS[prefix]
    assert parse_size(f"{number}{prefix}{suffix}") == expected
    assert parse_size(f"{number}{prefix.lower()}{suffix}") == expected


def test_a_size_may_have_a_fraction_or_be_a_plain_number() -> None:
    assert parse_size("none") == 0
    assert parse_size("1.5G") == 3 * 2**29
    assert parse_size("1 GiB") == 2**30
    assert parse_size(4096) == 4096


@pytest.mark.parametrize("text", ["", "much", "-1M", -1, "5X", "M", "1.G", "1e6", "5MBB", True])
def test_what_is_no_size_is_refused_with_the_form_to_write(text: str | int) -> None:
    with pytest.raises(ValueError, match=r"write 512M, 1\.5G"):
        parse_size(text)
