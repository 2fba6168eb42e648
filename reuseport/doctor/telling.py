"""The doctor's lines, for people and for programs, and the exit status. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from reuseport.client.text import clean
from reuseport.doctor import kernel, program, room
from reuseport.doctor.facts import Facts
from reuseport.doctor.judging import Grade, Judge, Line

JUDGES: tuple[Judge, ...] = (
    kernel.steering,
    kernel.capability,
    kernel.namespace,
    kernel.seccomp,
    kernel.port,
    kernel.backlog,
    room.open_files,
    room.cpus,
    room.memory,
    program.unit,
    program.stopping,
    program.extensions,
    program.pools,
    program.certificate,
    program.allocator,
    kernel.clock,
)

STATUS = {Grade.WARN: 1, Grade.BAD: 2}
"""0 for all others: it starts, and nothing is wrong."""


def judged(facts: Facts) -> list[Line]:
    """Every line, in order."""
    return [judge(facts) for judge in JUDGES]


def status(lines: Sequence[Line]) -> int:
    """Of the command: 2 a start would fail, 1 something is to be mended, 0 neither."""
    return max(STATUS.get(line.grade, 0) for line in lines)


def page(lines: Sequence[Line]) -> list[str]:
    """For people."""
    wide = max(len(line.topic) for line in lines)
    marked = max(len(grade.value) for grade in Grade)
    told = []
    for line in lines:
        told.append(f"{line.grade.value:{marked}}  {line.topic:{wide}}  {clean(line.text)}")
        if line.type:
            told.append(f"{'':{marked}}  {'':{wide}}  → {clean(line.type)}")
    return told


def document(lines: Sequence[Line]) -> dict[str, object]:
    """For programs."""
    return {
        "status": status(lines),
        "lines": [
            {"topic": line.topic, "grade": line.grade.value, "text": line.text, "type": line.type or None}
            for line in lines
        ],
    }
