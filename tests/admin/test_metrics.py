"""/metrics says what the status says, under the promised names, and Prometheus' own parser understands it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from reuseport.admin.metrics import MOST_HELD, REASONS, STATES, exposition
from reuseport.instance import HolderStatus, Status
from reuseport.launcher.deciding.events import Reason
from reuseport.launcher.deciding.phases import Phase
from reuseport.scoreboard import DURATION_BOUNDS
from tests.admin.statuses import slot_status, status

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
"""What Prometheus asks for."""

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

PROMISED = {
    "reuseport_build_info": {"version", "python", "uvicorn"},
    "reuseport_start_time_seconds": set(),
    "reuseport_generation": set(),
    "reuseport_steering_level": set(),
    "reuseport_workers_wanted": set(),
    "reuseport_workers": {"state"},
    "reuseport_worker_spawns_total": {"reason"},
    "reuseport_worker_exits_total": {"status"},
    "reuseport_reloads_total": {"result"},
    "reuseport_channel_violations_total": set(),
    "reuseport_fosters_total": {"reason"},
    "reuseport_handoffs_total": set(),
    "reuseport_rebalanced_total": set(),
    "reuseport_lingered_total": {"reason"},
    "reuseport_only_one": {"name", "worker"},
    "reuseport_turned_away_total": {"reason"},
    "reuseport_certificate_days_left": set(),
    "reuseport_requests_abandoned_total": set(),
    "reuseport_listen_overflows_total": set(),
    "reuseport_tcp_migrate_total": {"result"},
    "reuseport_worker_requests_total": {"worker", "code"},
    "reuseport_worker_requests_in_flight": {"worker"},
    "reuseport_worker_connections": {"worker"},
    "reuseport_worker_websockets": {"worker"},
    "reuseport_worker_accepted_total": {"worker"},
    "reuseport_worker_assigned_total": {"worker"},
    "reuseport_worker_accept_queue_length": {"worker"},
    "reuseport_worker_accept_queue_limit": {"worker"},
    "reuseport_worker_accept_wait_seconds": {"worker"},
    "reuseport_worker_event_loop_lag_seconds": {"worker"},
    "reuseport_worker_heartbeat_age_seconds": {"worker"},
    "reuseport_worker_cpu_seconds_total": {"worker"},
    "reuseport_worker_collector_seconds_total": {"worker"},
    "reuseport_worker_resident_memory_bytes": {"worker"},
    "reuseport_worker_pss_bytes": {"worker"},
    "reuseport_worker_open_fds": {"worker"},
    "reuseport_worker_generation": {"worker"},
    "reuseport_worker_restarts_total": {"worker"},
    "reuseport_worker_rescued_total": {"worker"},
    "reuseport_worker_steals_total": {"worker"},
    "reuseport_worker_sticky_requests_total": {"worker", "result"},
    "reuseport_worker_implausible_total": {"worker"},
    "http_server_request_duration_seconds_bucket": {"le"},
    "http_server_request_duration_seconds_count": set(),
    "http_server_request_duration_seconds_sum": set(),
}
"""Written out once more, since others' dashboards have these names: none may change or go."""


HELD: list[HolderStatus] = [{"name": "scheduler", "slot": 1, "pid": 4713}]


def scraped(made: Status) -> Series:
    """Every sample, once."""
    body, _ = exposition(made)
    samples = [sample for family in parse(body.decode()) for sample in family.samples]
    series = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(series) == len(samples)
    return series


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


def workers(series: Series, name: str) -> dict[int, float]:
    """By slot."""
    return {int(dict(labels)["worker"]): figure for (of, labels), figure in series.items() if of == name}


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────


def test_every_promised_name_with_its_labels_and_no_other() -> None:
    seen = {
        (name, frozenset(label for label, _ in labels)) for name, labels in scraped(status(only_one=HELD))
    }
    assert seen == {(name, frozenset(labels)) for name, labels in PROMISED.items()}


def test_each_says_what_it_is() -> None:
    kinds = {family.name: family for family in parse(exposition(status())[0].decode())}
    assert kinds["http_server_request_duration_seconds"].type == "histogram"
    for name in PROMISED:
        if name.startswith("reuseport_"):
            family = kinds[name.removesuffix("_total")]
            assert family.type == ("counter" if name.endswith("_total") else "gauge"), name
            assert family.documentation


def test_states_and_reasons_are_those_of_the_launcher() -> None:
    phases = {phase.value for phase in Phase} - {Phase.GONE.value}
    assert set(STATES) == phases | {"empty", "backoff", "drained"}
    assert set(REASONS) == {reason.value for reason in Reason}


def test_who_holds_a_name_is_named_and_no_more_than_a_few() -> None:
    series = scraped(status(only_one=HELD))
    assert series["reuseport_only_one", frozenset({("name", "scheduler"), ("worker", "1")})] == 1
    many: list[HolderStatus] = [{"name": f'a"{n}', "slot": 1, "pid": 4713} for n in range(3 * MOST_HELD)]
    names = [name for name, _ in scraped(status(only_one=[*many, *many]))]
    assert names.count("reuseport_only_one") <= MOST_HELD
    assert "reuseport_only_one" not in {name for name, _ in scraped(status(only_one=[]))}


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────


def test_of_the_whole_server() -> None:
    series = scraped(status(4))
    assert value(series, "reuseport_start_time_seconds") == 1764115000
    assert value(series, "reuseport_generation") == 2
    assert value(series, "reuseport_steering_level") == 2
    assert value(series, "reuseport_workers_wanted") == 4
    assert value(series, "reuseport_handoffs_total") == 12
    assert value(series, "reuseport_rebalanced_total") == 3
    assert value(series, "reuseport_requests_abandoned_total") == 100 + 200 + 300 + 400 + 4 * 6
    assert value(series, "reuseport_worker_exits_total", status="SIGKILL") == 1
    assert value(series, "reuseport_reloads_total", result="done") == 1
    assert value(series, "reuseport_reloads_total", result="aborted") == 0
    assert value(series, "reuseport_fosters_total", reason="stall") == 2
    assert value(series, "reuseport_listen_overflows_total") == 5
    assert value(series, "reuseport_tcp_migrate_total", result="success") == 7
    assert value(series, "reuseport_tcp_migrate_total", result="failure") == 0


def test_versions() -> None:
    labels = {"version": "0.1.0", "python": platform.python_version(), "uvicorn": version("uvicorn")}
    assert value(scraped(status()), "reuseport_build_info", **labels) == 1


@pytest.mark.parametrize(
    ("name", "figures"),
    {
        "requests_in_flight": [107, 207],
        "connections": [108, 208],
        "websockets": [109, 209],
        "accepted_total": [110, 210],
        "assigned_total": [111, 211],
        "accept_queue_length": [112, 212],
        "accept_queue_limit": [113, 213],
        "accept_wait_seconds": [100.25, 200.25],
        "event_loop_lag_seconds": [100.14, 200.14],
        "heartbeat_age_seconds": [100.15, 200.15],
        "cpu_seconds_total": [100.16, 200.16],
        "collector_seconds_total": [100.31, 200.31],
        "resident_memory_bytes": [117, 217],
        "pss_bytes": [118, 218],
        "open_fds": [119, 219],
        "generation": [2, 2],
        "restarts_total": [126, 226],
        "rescued_total": [131, 231],
        "steals_total": [135, 235],
    }.items(),
)
def test_of_each_worker(name: str, figures: list[float]) -> None:
    assert workers(scraped(status(2)), f"reuseport_worker_{name}") == dict(enumerate(figures))


def test_responses_by_code() -> None:
    series = scraped(status(2))
    name = "reuseport_worker_requests_total"
    assert [value(series, name, worker="1", code=f"{code}xx") for code in range(1, 6)] == [*range(201, 206)]
    assert sum(figure for (of, _), figure in series.items() if of == name) == 515 + 1015


def test_requests_with_a_key_by_what_became_of_them() -> None:
    series = scraped(status(2))
    name = "reuseport_worker_sticky_requests_total"
    found = [value(series, name, worker="0", result=result) for result in ("hit", "moved", "missed")]
    assert found == [132, 133, 134]


def test_a_counter_is_there_before_it_counts() -> None:
    """Or its first step would be none to Prometheus."""
    series = scraped(status(spawns={"start": 4}))
    assert value(series, "reuseport_worker_spawns_total", reason="start") == 4
    assert all(
        value(series, "reuseport_worker_spawns_total", reason=reason) == 0
        for reason in REASONS
        if reason != "start"
    )


def test_big_counters_are_exact() -> None:
    most = 2**53 - 1
    series = scraped(status([slot_status(0, assigned=most, cpu=123456789.125)]))
    assert value(series, "reuseport_worker_assigned_total", worker="0") == most
    assert value(series, "reuseport_worker_cpu_seconds_total", worker="0") == 123456789.125


def test_durations_are_one_cumulative_histogram() -> None:
    first, second = ([0] * 15, [0] * 15)
    first[0], first[14], second[0], second[3] = 3, 1, 4, 2
    slots = [
        slot_status(0, durations={"counts": first, "sum": 12.5}),
        slot_status(1, durations={"counts": second, "sum": 0.25}),
    ]
    series = scraped(status(slots))
    name = "http_server_request_duration_seconds"
    buckets = {
        float(dict(labels)["le"]): figure for (of, labels), figure in series.items() if of == f"{name}_bucket"
    }
    assert sorted(buckets) == [*DURATION_BOUNDS, float("inf")]
    assert [buckets[bound] for bound in sorted(buckets)] == [7, 7, 7, *[9] * 11, 10]
    assert value(series, f"{name}_count") == 10
    assert value(series, f"{name}_sum") == 12.75


def test_bounds_are_written_as_prometheus_writes_them() -> None:
    """They are part of the series' identity, so 1 and 1.0 are two."""
    body = exposition(status())[0].decode()
    written = [line.split('"')[1] for line in body.splitlines() if "_bucket{" in line]
    whole = ["1.0", "2.5", "5.0", "7.5", "10.0", "+Inf"]
    assert written == ["0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", *whole]


# ── workers by state ──────────────────────────────────────────────────────────────────────────────────


def states(*changes: dict[str, Any]) -> dict[str, float]:
    """How many workers in each state that has any, of slots that differ so from one that is well."""
    series = scraped(status([slot_status(number, **change) for number, change in enumerate(changes)]))
    counts = {state: value(series, "reuseport_workers", state=state) for state in STATES}
    return {state: count for state, count in counts.items() if count}


def test_every_state_is_there() -> None:
    series = scraped(status(4))
    counts = {state: value(series, "reuseport_workers", state=state) for state in STATES}
    assert counts == dict.fromkeys(STATES, 0) | {"ready": 4}


def test_all_workers_of_a_slot_count() -> None:
    successor = {"pid": 20, "generation": 3, "state": "starting"}
    leaving = [
        {"pid": 21, "generation": 1, "state": "draining"},
        {"pid": 22, "generation": 1, "state": "dying"},
    ]
    assert states({"successor": successor, "predecessors": leaving}, {"state": "stalled"}) == {
        "ready": 1,
        "starting": 1,
        "draining": 1,
        "dying": 1,
        "stalled": 1,
    }


def test_a_slot_scaled_away_lacks_nobody() -> None:
    gone = {"wanted": False, "state": "empty"}
    assert states({}, gone) == {"ready": 1}
    assert states({"state": "empty"}, {"wanted": False, "state": "draining"}) == {"empty": 1, "draining": 1}


# ── what is not known, and what does not go ───────────────────────────────────────────────────────────


def test_what_nobody_knows_is_left_out() -> None:
    hidden = slot_status(1, heartbeat_age=None, rss=None, pss=None, open_fds=None)
    kernel = {"listen_overflows": None, "migrate_success": None, "migrate_failure": None}
    series = scraped(status([slot_status(0), hidden], kernel=kernel))
    for name in ("heartbeat_age_seconds", "resident_memory_bytes", "pss_bytes", "open_fds"):
        assert set(workers(series, f"reuseport_worker_{name}")) == {0}
    assert not {"reuseport_listen_overflows_total", "reuseport_tcp_migrate_total"} & {
        name for name, _ in series
    }


def test_counters_of_a_slot_scaled_away_stay() -> None:
    def counters(made: Status) -> Series:
        return {
            key: figure for key, figure in scraped(made).items() if key[0].endswith(("_total", "_bucket"))
        }

    gone = slot_status(1, wanted=False, state="empty", pid=None, heartbeat_age=None, rss=None)
    assert counters(status([slot_status(0), gone], workers=1)) == counters(status(2))


def test_nothing_has_begun() -> None:
    series = scraped(status(0))
    assert value(series, "http_server_request_duration_seconds_count") == 0
    assert value(series, "http_server_request_duration_seconds_bucket", le="0.005") == 0


# ── formats ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "accept", ["", PROMETHEUS, "*/*", "text/html", "application/openmetrics-text;version=x,*/*"]
)
def test_plain_text_for_whoever_takes_it(accept: str) -> None:
    body, kind = exposition(status(), accept)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert body == exposition(status())[0]


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text", "application/openmetrics-text; version=x"]
)
def test_openmetrics_for_whoever_takes_nothing_else(accept: str) -> None:
    body, kind = exposition(status(), accept)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    series = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert series == scraped(status())
