"""The verdict in words, from what a launcher tells."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.admin.browser.told import Told, record, slot, status


def judge(page: Page, statuses: list[Told], records: list[Told] | None = None) -> Any:
    """The verdict on the last status: headline, tone, concerns, key, title; blanks are plain."""
    return page.evaluate(
        r"""async ([statuses, records]) => {
            const { Readings } = await import("/page/readings.js");
            const { weigh } = await import("/page/evenness.js");
            const { judge } = await import("/page/verdict.js");
            const readings = new Readings();
            const read = statuses.map((status) => readings.take(status)).at(-1);
            const verdict = judge(statuses.at(-1), read, weigh(statuses.at(-1), read), records);
            return JSON.parse(JSON.stringify(verdict).replaceAll("\u00a0", " "));
        }""",
        [statuses, records or []],
    )


def served(requests: list[int], **different: Any) -> list[Told]:
    """Two statuses ten seconds apart, between which each slot served so many requests; many connections."""
    return [
        status([slot(number, connections=20) for number in range(len(requests))]),
        status(
            [slot(number, connections=20, requests=count) for number, count in enumerate(requests)],
            now=2010.0,
            **different,
        ),
    ]


def one(**different: Any) -> list[Told]:
    """Four slots, of which number 2 is different."""
    return [status([slot(0), slot(1), slot(2, **different), slot(3)])]


def test_who_is_the_only_one_is_said_of_a_few(modules: Page) -> None:
    script = """async (status) => (await import("/page/verdict.js")).facts(status)"""
    assert not [fact for fact in modules.evaluate(script, status([])) if "only" in fact]
    holders = [{"name": f"job {number}", "slot": number % 2, "pid": 7} for number in range(8)]
    facts = modules.evaluate(script, status([], only_one=holders[:1]))
    assert "only one: job 0 in slot 0" in facts
    facts = modules.evaluate(script, status([], only_one=holders))
    assert [fact for fact in facts if fact.endswith("job 5 in slot 1, and 2 more")]


def test_all_is_well(modules: Page) -> None:
    verdict = judge(modules, served([100, 110, 95, 104]))
    assert verdict["headline"] == "All 4 workers ready, balanced"
    assert (verdict["tone"], verdict["concerns"]) == ("ok", [])
    assert verdict["title"] == "✓ 4/4 app:app"


@pytest.mark.parametrize(
    ("statuses", "headline"),
    [
        (served([0, 0, 0, 0]), "All 4 workers ready, idle"),
        (served([1, 0, 2, 0]), "All 4 workers ready, little to do"),
        (served([100]), "The only worker is ready"),
        # What a perfect lottery deals is no clump.
        (served([100, 130, 75, 104]), "All 4 workers ready, balanced"),
    ],
)
def test_what_is_no_concern(modules: Page, statuses: list[Told], headline: str) -> None:
    verdict = judge(modules, statuses)
    assert (verdict["headline"], verdict["tone"]) == (headline, "ok")


def test_a_clump_is_named(modules: Page) -> None:
    verdict = judge(modules, served([100, 600, 100, 100]))
    much = "2.67\N{MULTIPLICATION SIGN}"
    assert verdict["headline"] == f"Uneven: slot 1 has {much} its share of the requests (67 %)"
    assert verdict["tone"] == "attention"


def test_a_slot_that_gets_nothing_is_named(modules: Page) -> None:
    assert judge(modules, served([100, 110, 0, 105]))["headline"] == "Uneven: slot 2 has none of the requests"


def test_two_clients_are_no_clump(modules: Page) -> None:
    statuses = served([500, 500, 0, 0])
    for told in statuses:
        for number, of in enumerate(told["slots"]):
            of["connections"] = int(number < 2)
    assert judge(modules, statuses)["tone"] == "ok"


@pytest.mark.parametrize(
    ("statuses", "headline", "tone"),
    [
        (
            one(state="stalled", heartbeat_age=3.4, foster=0),
            "Slot 2 stalled for 3 s, fostered by slot 0",
            "bad",
        ),
        (
            one(state="backoff", pid=None, retry_at=2004.2, foster=1),
            "Slot 2 has no worker, tried again in 4 s, fostered by slot 1",
            "bad",
        ),
        (one(state="starting", foster=3), "Slot 2 restarting, fostered by slot 3", "attention"),
        (one(state="starting"), "Slot 2 starting", "working"),
        (
            one(state="drained", pid=None, foster=1),
            "Slot 2 taken out of service by hand, fostered by slot 1",
            "attention",
        ),
        (one(state="dying"), "Slot 2 is being ended", "attention"),
        (one(accept_queue={"length": 90, "limit": 100}), "Slot 2: accept queue 90 % full", "bad"),
        (
            [status([slot(0, state="starting"), slot(1)], state="starting")],
            "Starting: 1 of 2 workers ready",
            "working",
        ),
        ([status([slot(0, state="backoff", pid=None)])], "No worker is ready: nobody is answered", "bad"),
        (
            [status([slot(0, state="draining"), slot(1, pid=None)], state="stopping")],
            "Stopping: 1 worker left",
            "bad",
        ),
        (
            served([100] * 4, state="reloading", reload={"generation": 3, "done": 1, "of": 4}),
            "Reloading to generation 3: 1 of 4",
            "working",
        ),
    ],
)
def test_what_is_said_first(modules: Page, statuses: list[Told], headline: str, tone: str) -> None:
    verdict = judge(modules, statuses)
    assert (verdict["headline"], verdict["tone"]) == (headline, tone)


def test_several_slots_are_named_together_and_many_counted(modules: Page) -> None:
    def stalled(troubled: int) -> list[Told]:
        return [
            status(
                [slot(n, state="stalled", heartbeat_age=2.0 + n, foster=9) for n in range(troubled)]
                + [slot(n) for n in range(troubled, 10)]
            )
        ]

    assert (
        judge(modules, stalled(3))["headline"] == "Slots 0, 1 and 2 stalled for up to 4 s, fostered by slot 9"
    )
    assert judge(modules, stalled(7))["headline"] == "7 slots stalled for up to 8 s, fostered by slot 9"


def test_the_worst_comes_first_and_the_rest_below(modules: Page) -> None:
    statuses = one(state="stalled", heartbeat_age=3.0, foster=0)
    statuses[0]["reload"] = {"generation": 3, "done": 1, "of": 4}
    verdict = judge(modules, statuses, [record("crashed", time=1960.0, slot=1)])
    assert verdict["headline"] == "Slot 2 stalled for 3 s, fostered by slot 0"
    assert verdict["concerns"] == ["Reloading to generation 3: 1 of 4", "A worker in slot 1 died 40 s ago"]
    assert verdict["title"] == "✕ 3/4 app:app"


def test_a_past_crash_is_told_without_alarm_and_forgotten(modules: Page) -> None:
    crashes = [record("crashed", time=1980.0, slot=0), record("crashed", time=1990.0, slot=1, seq=2)]
    verdict = judge(modules, [status([slot(0), slot(1)])], crashes)
    assert verdict["tone"] == "ok"
    assert verdict["concerns"] == ["A worker in slot 1 died 10 s ago, 2 deaths in five minutes"]
    assert judge(modules, [status([slot(0), slot(1)], now=2400.0)], crashes)["concerns"] == []


def test_a_hung_worker_died_and_an_overdue_predecessor_did_not(modules: Page) -> None:
    killed = [
        record("killed", time=1980.0, slot=0, level="error"),
        record("killed", time=1990.0, slot=1, level="warning", seq=2),
    ]
    verdict = judge(modules, [status([slot(0), slot(1)])], killed)
    assert verdict["concerns"] == ["A worker in slot 0 died 20 s ago"]


def test_an_aborted_reload_is_told_until_one_succeeds(modules: Page) -> None:
    aborted = [record("reload_begun", seq=1), record("reload_aborted", time=1940.0, seq=2)]
    verdict = judge(modules, [status([slot(0), slot(1)])], aborted)
    assert verdict["headline"] == "The last reload was aborted 1 min ago, generation 1 serves"
    again = [*aborted, record("reload_begun", seq=3), record("reload_done", seq=4)]
    assert judge(modules, [status([slot(0), slot(1)])], again)["tone"] == "ok"


def test_many_failed_responses_are_bad(modules: Page) -> None:
    statuses = served([100, 100])
    statuses[1]["slots"][0]["responses"]["5xx"] = 40
    verdict = judge(modules, statuses)
    assert (verdict["headline"], verdict["tone"]) == ("20 % of the responses are 5xx", "bad")


def test_an_overflow_that_may_be_another_program_s_is_told_without_alarm(modules: Page) -> None:
    statuses = served([100, 100])
    statuses[1]["kernel"]["listen_overflows"] = 3
    verdict = judge(modules, statuses)
    assert verdict["tone"] == "ok"
    assert verdict["concerns"] == ["3 times an accept queue on this host was full, perhaps not ours"]


def test_what_the_kernel_does_not_tell_is_no_concern(modules: Page) -> None:
    statuses = served([100, 100])
    for told in statuses:
        told["kernel"]["listen_overflows"] = None
    assert judge(modules, statuses)["tone"] == "ok"


def test_scaling_away_is_no_concern(modules: Page) -> None:
    statuses = served([100, 100, 100])
    statuses[1]["slots"][2].update(wanted=False, state="draining", foster=0)
    statuses[1].update(workers=2, ready=2)
    assert judge(modules, statuses)["headline"] == "All 2 workers ready, balanced"


def test_a_passing_second_is_not_read_aloud(modules: Page) -> None:
    at = [judge(modules, one(state="stalled", heartbeat_age=age, foster=0)) for age in (3.0, 4.0)]
    assert at[0]["headline"] != at[1]["headline"]
    assert at[0]["key"] == at[1]["key"]
    other = judge(modules, [status([slot(0), slot(1, state="stalled", heartbeat_age=3.0), slot(2), slot(3)])])
    assert other["key"] != at[0]["key"]
