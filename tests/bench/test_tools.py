"""What the bench reads off ab's report."""

from __future__ import annotations

import pytest

from bench.kit.tools import Outcome, read_ab

REPORT = """\
Concurrency Level:      64
Time taken for tests:   1.016 seconds
Complete requests:      1144
Failed requests:        {failed}
{more}Total transferred:      163592 bytes
Requests per second:    1125.98 [#/sec] (mean)
Time per request:       56.839 [ms] (mean)

Percentage of the requests served within a certain time (ms)
  50%     36
  66%     47
  99%    155
 100%    170 (longest request)
"""


def outcome(failed: int = 0, more: str = "") -> Outcome:
    one = Outcome()
    read_ab(REPORT.format(failed=failed, more=more), one)
    return one


def test_a_report_without_errors() -> None:
    one = outcome()
    assert (one.answered, one.lost, one.errors) == (1144, 0, "no error")
    assert (one.rate, one.p50, one.p99) == pytest.approx((1125.98, 0.036, 0.155))


def test_a_reset_counts_once_and_a_refusal_and_another_status_too() -> None:
    kinds = "   (Connect: 2, Receive: 5, Length: 5, Exceptions: 4)\nNon-2xx responses:      10\n"
    assert outcome(17, kinds).lost == 2 + 5 + 10


def test_giving_up_is_a_loss_and_no_rate() -> None:
    one = Outcome()
    read_ab("apr_socket_recv: Connection refused (111)\nTotal of 7 requests completed\n", one)
    assert (one.answered, one.rate) == (7, 0.0)
    assert one.lost > 0
    assert one.errors.startswith("ab gave up")
