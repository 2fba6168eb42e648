"""The verdict in words, and the table that fits."""

from __future__ import annotations

import math

import pytest

from reuseport.client.rates import Rates
from reuseport.client.summary import headline, is_well, notes, page
from reuseport.client.table import COLUMNS, fitting, lines_of, rows_of
from reuseport.instance import Status
from tests.admin.statuses import slot_status, status

RELOAD = {"generation": 3, "done": 1, "of": 2}
BROKEN = [slot_status(0), slot_status(1, state="backoff", pid=None)]


@pytest.mark.parametrize(
    ("seen", "well", "words"),
    [
        (status(2), True, "is well: all 2 workers are ready (generation 2)"),
        (status(1), True, "is well: its worker is ready (generation 2)"),
        (
            status(2, state="reloading", reload=RELOAD),
            True,
            "is well, and reloads to generation 3: 1 of 2 slots run it",
        ),
        (status(2, state="starting", ready=1), False, "is starting: 1 of 2 workers are ready"),
        (status(2, state="stopping"), False, "is stopping: 2 of 2 workers still serve"),
        (
            status(BROKEN, ready=1),
            False,
            "is not well: 1 of 2 workers are ready; slot 1 is waiting to be tried again",
        ),
    ],
)
def test_the_headline_and_the_exit_code_agree(seen: Status, well: bool, words: str) -> None:
    assert headline(seen) == f"shop:app {words}"
    assert is_well(seen) is well


def test_what_the_table_does_not_show_is_noted() -> None:
    slots = [
        slot_status(0, successor={"pid": 9, "generation": 3, "state": "starting"}),
        slot_status(1, state="backoff", pid=None, retry_at=1764115204.5, foster=0, last_exit="it was killed"),
        slot_status(2, wanted=False, state="empty", pid=None),
        slot_status(3, last_exit="long ago", executes="burn (\x1b.py:7)"),
        slot_status(4, waiting=[{"pid": 8, "requests": 3, "oldest": "GET /live\x1b", "seconds": 95.0}]),
        slot_status(5, waiting=[{"pid": 7, "requests": 1, "oldest": "GET /", "seconds": None}]),
    ]
    holders = [{"name": "mail\x1b", "slot": 3, "pid": 4715}]
    assert list(notes(status(slots, only_one=holders))) == [
        "slot 0: the worker with pid 9 (generation 3) is starting, too",
        "slot 1: slot 0 accepts for it",
        "slot 1: it is tried again in 4s",
        "slot 1: it was killed",
        r"slot 3: it executes burn (\x1b.py:7)",
        r"slot 4: the worker with pid 8 waits for 3 requests; the oldest, for 1m35s: GET /live\x1b",
        "slot 5: the worker with pid 7 waits for 1 requests; the oldest: GET /",
        r"only one: mail\x1b is held in slot 3 by pid 4715",
        "1 slot is scaled away: siblings accept what still comes to the listeners",
        "blocked workers: 2,286 connections rescued from them, 2,310 accepted for them",
        "sessions: 2,292 requests hit, 2,298 moved, 2,304 missed",
    ]


def test_what_was_rescued_stolen_and_moved_is_noted_once_there_is_any() -> None:
    passed, none = (
        {"sent": 5, "received": 5, "refused": 0, "rebalanced": 2},
        {"hits": 0, "moved": 0, "missed": 0},
    )
    quiet = slot_status(0, handoffs={**passed, "rescued": 0}, stolen=0, sticky=none)
    assert list(notes(status([quiet]))) == []
    rescued = slot_status(1, handoffs={**passed, "rescued": 600}, stolen=3, sticky=none)
    assert list(notes(status([quiet, rescued, rescued]))) == [
        "blocked workers: 1,200 connections rescued from them, 6 accepted for them"
    ]
    sticky = {"hits": 7000, "moved": 20, "missed": 1}
    known = slot_status(2, handoffs={**passed, "rescued": 0}, stolen=0, sticky=sticky)
    assert list(notes(status([quiet, known, known]))) == ["sessions: 14,000 requests hit, 40 moved, 2 missed"]


def test_what_an_application_says_does_not_move_the_cursor() -> None:
    seen = status(
        [slot_status(0, state="dying\x1b[2J", last_exit="\x1b]0;title\x07")],
        application="\x1b[31m:app",
        version="\x9b1m",
        addresses=["http://\x08"],
        balance={"rule": "\x1b", "level": 2, "reason": "\x1b"},
    )
    records = [{"kind": "note", "time": 0.0, "level": "err\x1b", "text": "\x1b[2J"}]
    assert all(line.isprintable() for line in page(seen, {}, records, math.inf))


def test_an_aborted_reload_is_told_until_another_begins() -> None:
    begun = {"kind": "reload_begun", "time": 0.0, "level": "info", "text": "it begins"}
    aborted = {"kind": "reload_aborted", "time": status(2)["now"] - 4, "level": "error", "text": "it failed"}
    told = "the last reload was aborted 4s ago: generation 2 serves"
    assert page(status(2), {}, [begun, aborted], math.inf)[:2] == [headline(status(2)), told]
    for records in ([], [begun], [aborted, begun], [aborted, {**begun, "kind": "reload_done"}]):
        assert told not in page(status(2), {}, records, math.inf)


def test_a_narrow_table_leaves_out_what_matters_least() -> None:
    rows = rows_of(status(4), {0: Rates(1234.5, 99.0, math.inf)})
    wide, narrow = fitting(rows, math.inf), [column.title for column in fitting(rows, 80)]
    assert wide == list(COLUMNS)
    assert {"slot", "state", "req/s", "flight", "queue"} <= set(narrow) < {column.title for column in COLUMNS}
    assert max(map(len, lines_of(rows, 80))) <= 80
    kept = next(column for column in COLUMNS if column.title == "requests")
    assert kept in fitting(rows, 20, kept)


def test_unknown_figures_are_dashes_and_sort_as_the_least() -> None:
    slots = [slot_status(0, rss=5 << 20), slot_status(1, rss=None), slot_status(2, rss=9 << 20)]
    rows = rows_of(status(slots), {})
    rss = next(column for column in COLUMNS if column.title == "rss")
    assert [rss.cell(row) for row in sorted(rows, key=rss.key)] == ["-", "5M", "9M"]
    assert all(COLUMNS[6].cell(row) == "-" for row in rows)
