"""Durations and sizes as operators write them: `30s`, `1h30m`, `250ms`; `512M`, `1GiB`.

Every reader raises ValueError with a sentence that says what to write instead; the caller adds
where the text came from (a flag, a variable, a key in a file). What reckons exactly (fractions, decimal) is
imported by whoever is given something to reckon: every start waits for this module.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"

# One group per unit, largest first, each at most once: "30m1h" and "5s5s" are typing errors.
_DURATION = re.compile(rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?")
_MILLISECONDS = (86_400_000, 3_600_000, 60_000, 1_000, 1)

_SIZE = re.compile(rf"{_NUMBER} ?(?:([kmgt]?)(?:i?b)?)", re.IGNORECASE)
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

# Beyond this a deadline means "never", which is written 0; it also keeps out what a float
# cannot hold and a clock cannot add.
LONGEST_DURATION = 3650 * 86400.0


def parse_duration(value: str | float) -> float:
    """Seconds, from `30s`, `5m`, `1h30m`, `250ms`, `1.5s`, `2d`, or a plain number of seconds.

    Units are d, h, m, s and ms, largest first. Never negative, at most ten years. `none` is 0: no deadline.
    Raises ValueError with a sentence for the operator.
    """
    seconds = _seconds(value)
    if seconds is None:
        raise ValueError(f"{value!r} is not a duration: write 30s, 5m, 1h30m, 250ms or a number of seconds")
    if seconds > LONGEST_DURATION:
        raise ValueError(f"{value!r} is longer than ten years: write at most 3650d")
    return float(seconds)


def parse_size(value: str | int) -> int:
    """Bytes, from `512M`, `1GiB`, `1.5G`, `64kB` or a plain number of bytes.

    K, M, G and T are powers of 1024 whatever follows them: `M`, `MB` and `MiB` are the same,
    because a limit that is compared with the kernel's page counts has no use for powers of 1000.
    A fraction of a byte is dropped; `none` is 0. Raises ValueError with a sentence for the operator.
    """
    text = str(value).strip()
    if text.lower() == "none":
        return 0
    match = _SIZE.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is not a size: write 512M, 1.5G, 64K or a number of bytes")
    from fractions import Fraction

    number, prefix = match.groups()
    return int(Fraction(number) * _BYTES[prefix.lower()])


def format_duration(seconds: float) -> str:
    """The shortest spelling that `parse_duration` reads back as the same number."""
    if seconds != int(seconds):
        from decimal import Decimal

        # A plain decimal, never an exponent: "1e-07s" is not a duration.
        return f"{Decimal(repr(seconds)):f}s"
    parts = []
    rest = int(seconds)
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _seconds(value: str | float) -> Fraction | None:
    """The exact number of seconds, or None for what is no duration."""
    from fractions import Fraction

    text = str(value).strip()
    if isinstance(value, bool) or not text:
        return None
    if re.fullmatch(_NUMBER, text):
        return Fraction(text)
    if text.lower() == "none":
        return Fraction(0)
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    counts = zip(match.groups(), _MILLISECONDS, strict=True)
    return sum((Fraction(count) * unit for count, unit in counts if count), Fraction(0)) / 1000
