"""Until when the certificates last that workers serve: told when others are taken up, and again near the end.

Workers say so, each of those it has read itself; the launcher opens no file of certificates after its start.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from reuseport.certificate import SOON, days_left
from reuseport.history import Level

STEPS = (SOON, 7, 3, 1, 0)
"""Days left at which it is said again."""


class Expiry:
    """What was told of it."""

    def __init__(self) -> None:
        self._expires = 0
        self._step: int | None = None

    def look(self, expires: int, now: float) -> Iterator[tuple[Level, str]]:
        """What is new; `expires`: the first end of all served; 0: none is. Seconds since the epoch."""
        if not expires:
            return
        left = days_left(expires, now)
        step = next((step for step in reversed(STEPS) if left < step), None)
        if expires == self._expires and step == self._step:
            return
        self._expires, self._step = expires, step
        until = datetime.datetime.fromtimestamp(expires, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        if left < 0:
            yield "error", f"the certificate has ended, at {until}: renew it and reload"
        elif step is not None:
            yield "warning", f"the certificate ends at {until}, in {_days(left)}: renew it and reload"
        else:
            yield "info", f"the certificate is good until {until}, for {_days(left)}"


def _days(left: float) -> str:
    whole = int(left)
    return "less than a day" if whole < 1 else f"{whole} day{'s' * (whole > 1)}"
