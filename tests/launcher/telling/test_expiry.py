"""What is said of certificates: when others are taken up, and again near the end; never twice."""

from __future__ import annotations

from reuseport.launcher.telling.expiry import Expiry

DAY = 86400


def told(expiry: Expiry, expires: int, now: float) -> list[tuple[str, str]]:
    return [(level, text) for level, text in expiry.look(expires, now)]


def test_it_is_told_once_and_again_when_it_is_another() -> None:
    expiry = Expiry()
    assert told(expiry, 0, 5.0) == []
    first = ("info", "the certificate is good until 1970-03-02 00:00 UTC, for 59 days")
    assert told(expiry, 60 * DAY, 5.0) == [first]
    assert told(expiry, 60 * DAY, 1.0 * DAY) == []
    renewed = ("info", "the certificate is good until 1970-04-11 00:00 UTC, for 99 days")
    assert told(expiry, 100 * DAY, 1.0 * DAY) == [renewed]


def test_it_is_told_at_each_step_to_the_end() -> None:
    expiry = Expiry()
    said = [line for hour in range(24 * 32) for line in told(expiry, 30 * DAY, hour * 3600.0 + 1)]
    levels = [level for level, _ in said]
    assert levels == ["info", *["warning"] * 4, "error"]
    ends = "the certificate ends at 1970-01-31 00:00 UTC, in"
    assert [text for _, text in said[1:]] == [
        f"{ends} 13 days: renew it and reload",
        f"{ends} 6 days: renew it and reload",
        f"{ends} 2 days: renew it and reload",
        f"{ends} less than a day: renew it and reload",
        "the certificate has ended, at 1970-01-31 00:00 UTC: renew it and reload",
    ]
