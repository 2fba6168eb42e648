"""The screen of `top` at every size, and what keys make of it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from reuseport.client.table import COLUMNS
from reuseport.client.top import KEYS, View, screen
from reuseport.client.watch import Look
from tests.admin.statuses import slot_status, status


def shown(look: Look, view: View, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(screen(look, view, width, height))
    return capture.get().splitlines()


def look(slots: int, *, unwell: bool = False, gone: str = "") -> Look:
    made = [slot_status(number, foster=0 if unwell else None) for number in range(slots)]
    records = tuple({"time": 0.0, "level": "info", "text": f"event {number}"} for number in range(9))
    return Look(status(made), {}, records, gone)


@pytest.mark.parametrize("height", [8, 10, 14, 24, 40, 100])
@pytest.mark.parametrize("slots", [1, 4, 64])
@pytest.mark.parametrize("unwell", [False, True])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_and_the_keys_are_the_last_line(height: int, slots: int, unwell: bool, width: int) -> None:
    lines = shown(look(slots, unwell=unwell), View(), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert lines[-1].strip() == KEYS[:width].strip()
    assert any(line.split()[:2] == ["0", "ready"] for line in lines)
    if height == 100:
        assert sum(" ready " in line for line in lines) >= slots


def test_one_can_scroll_to_the_last_slot_and_not_beyond() -> None:
    view = View()
    for _ in range(100):
        view = view.pressed("down")
    lines = shown(look(64), view, 120, 24)
    assert any(line.split()[:2] == ["63", "ready"] for line in lines)
    assert any("to 64 of 64 in this order" in line for line in lines)
    assert len(lines) <= 24


def test_every_column_can_be_sorted_by_however_narrow_the_terminal() -> None:
    view = View()
    for column in COLUMNS:
        assert any(f"{column.title} ^" in line for line in shown(look(4), view, 60, 24))
        view = view.pressed("right")
    assert view == View()
    down = view.pressed("left").pressed("reverse")
    rows = [line.split() for line in shown(look(4), down, 200, 24)]
    assert [row[0] for row in rows if row[1:2] == ["ready"]] == [
        "3",
        "2",
        "1",
        "0",
    ]  # the most restarts first


def test_who_is_gone_is_told_and_the_last_picture_stays() -> None:
    lines = shown(look(2, gone="nobody listens\x1b[2J"), View(), 100, 24)
    assert "nobody listens\\x1b[2J; trying again" in "\n".join(lines)
    assert any(line.split()[:2] == ["0", "ready"] for line in lines)
    assert shown(Look(None, {}, ()), View(), 100, 24)[0].strip() == "waiting for the first status"


def test_a_pause_ends_with_the_same_key() -> None:
    paused = View().pressed("pause")
    assert "paused" in "\n".join(shown(look(1), paused, 80, 24))
    assert paused.pressed("pause") == View()
