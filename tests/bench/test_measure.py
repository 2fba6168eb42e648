"""What the bench reads off wrk's report: an error that is overlooked here would be a figure that lies."""

from __future__ import annotations

import pytest

from bench.kit.measure import interleaved, parse_wrk, spread

REPORT = """\
Running 2s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Latency Distribution
     50%    1.50ms
     99%    9.00ms
  2000 requests in 2.01s, 1.00MB read
{more}Requests/sec:    995.02
"""


def test_a_report_without_errors() -> None:
    load = parse_wrk(REPORT.format(more=""), cpu=0.5)
    assert (load.requests, load.errors, load.seconds, load.cpu) == (2000, 0, 2.01, 0.5)
    assert (load.latency, load.p99) == pytest.approx((0.0015, 0.009))
    assert load.rate == pytest.approx(2000 / 2.01)


def test_every_kind_of_error_counts() -> None:
    more = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\n"
    assert parse_wrk(REPORT.format(more=more), cpu=0.0).errors == 54321


def test_what_is_no_report_is_refused() -> None:
    with pytest.raises(ValueError, match="not a report of wrk"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused", cpu=0.0)


def test_no_variant_is_always_first() -> None:
    assert list(interleaved("AB", 2)) == [(0, "A"), (0, "B"), (1, "B"), (1, "A")]


def test_a_spread_names_its_middle_and_its_ends() -> None:
    assert spread([3.0, 1.0, 2.0], ".1f") == "2.0 (1.0 to 3.0)"
