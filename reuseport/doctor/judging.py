"""What a judge says: one line, with the command to type where there is something to be done."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from reuseport.doctor.facts import Facts, Unknown


class Grade(enum.Enum):
    """From good to bad. `NOTE`: it could be better, and all promises hold."""

    GOOD = "ok"
    NOTE = "note"
    UNKNOWN = "could not tell"
    WARN = "warning"
    BAD = "error"


@dataclass(frozen=True, slots=True)
class Line:
    """`type`: what to type, or to write where; empty: nothing."""

    topic: str
    grade: Grade
    text: str
    type: str = ""


Judge: TypeAlias = Callable[[Facts], Line]


def untold(topic: str, unknown: Unknown) -> Line:
    """The line for what could not be told."""
    return Line(topic, Grade.UNKNOWN, unknown.why)
