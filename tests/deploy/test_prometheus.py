"""The dashboard and the alert rules ask for nothing that /metrics does not have."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse

from reuseport.admin.metrics import exposition
from tests.admin.statuses import status

DEPLOY = Path(__file__).parents[2] / "reuseport" / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES: dict[str, Any] = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))

SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""
SELECTOR = re.compile(r"\b((?:reuseport|http_server)_\w+)\s*(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
GROWTH = re.compile(r"\b(?:rate|increase)\($")
SHOWN = re.compile(r"\{\{\s*\$?(?:labels\.)?(\w+)[^}]*\}\}")


def exported() -> dict[str, dict[str, set[str]]]:
    """The values that each label of each name has."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in parse(exposition(status())[0].decode()):
        for sample in family.samples:
            labels = found[sample.name]
            for label, value in sample.labels.items():
                labels[label].add(value)
    return found


EXPORTED = exported()


def defects(expression: str, shown: str = "") -> list[str]:
    """What is wrong with a query whose labels are `shown` in a text."""
    return [*_unknown(expression), *_wrongly_counted(expression), *_lost(expression, shown)]


def _unknown(expression: str) -> Iterator[str]:
    selectors = SELECTOR.findall(expression)
    if not selectors:
        yield f"no name of ours in {expression}"
    known = set(SCRAPED)
    for name, matchers in selectors:
        if name not in EXPORTED:
            yield f"{name} is not exported"
            continue
        labels = EXPORTED[name]
        known |= labels.keys()
        for label, operator, wanted in MATCHER.findall(matchers):
            if label not in labels.keys() | SCRAPED:
                yield f"{name} has no label {label}"
            values = wanted.split("|") if "~" in operator else [wanted]
            if label in labels and not labels[label].issuperset(values):
                yield f"{label} of {name} is never {wanted}"
    for group in GROUPED.findall(expression):
        if lost := set(re.findall(r"\w+", group)) - known:
            yield f"nothing has the labels {lost} of {expression}"


def _wrongly_counted(expression: str) -> Iterator[str]:
    """A counter by itself says nothing, and the growth of anything else is none."""
    for found in SELECTOR.finditer(expression):
        counter = found[1].endswith(("_total", "_bucket", "_sum", "_count"))
        if counter != bool(GROWTH.search(expression[: found.start()])):
            yield f"{found[1]} is {'a' if counter else 'no'} counter: {expression}"


def _lost(expression: str, shown: str) -> Iterator[str]:
    """Labels that are to be shown and have been summed away, or never were."""
    groups = [set(re.findall(r"\w+", group)) for group in re.findall(r"\bby\s*\(([^)]*)\)", expression)]
    if groups:
        left = set.union(*groups)
    elif re.search(r"\b(?:sum|min|max|count)\s*\(", expression):
        left = set()
    else:
        left = SCRAPED.union(*(EXPORTED[name] for name, _ in SELECTOR.findall(expression)))
    if lost := set(SHOWN.findall(shown)) - left - {"value"}:
        yield f"{lost} is not left of {expression}"


# ── the dashboard ─────────────────────────────────────────────────────────────────────────────────────

PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [
    pytest.param(target["expr"], target["legendFormat"], id=f"{panel['title']}-{target['refId']}")
    for panel in PANELS
    for target in panel["targets"]
]


@pytest.mark.parametrize(("expression", "legend"), TARGETS)
def test_a_panel_asks_for_what_there_is(expression: str, legend: str) -> None:
    assert defects(expression, legend) == []
    # The one variable that narrows a panel down.
    assert all('instance=~"$instance"' in matchers for _, matchers in SELECTOR.findall(expression))


def test_the_questions_and_their_panels() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Is it well?", "Is it balanced?", "What does it cost?"]
    assert all(panel["description"] and panel["targets"] for panel in PANELS)


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert columns.stop <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_everything_comes_from_the_chosen_data_source() -> None:
    source = {"type": "prometheus", "uid": "${datasource}"}
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == source["type"]
    assert variables["instance"]["datasource"] == source
    assert all(part["datasource"] == source for panel in PANELS for part in (panel, *panel["targets"]))


def test_what_stands_outside_of_panels() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["instance"]["query"]["query"] == "label_values(reuseport_build_info, instance)"
    assert "reuseport_build_info" in EXPORTED
    for annotation in DASHBOARD["annotations"]["list"]:
        assert defects(annotation["expr"], annotation["textFormat"]) == []


# ── alerts ────────────────────────────────────────────────────────────────────────────────────────────

ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]


def test_five_of_them_and_two_page() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in ALERTS}
    assert severities == {
        "ReuseportNoWorkerReady": "critical",
        "ReuseportAcceptQueueFilling": "critical",
        "ReuseportWorkerCrashLooping": "warning",
        "ReuseportEventLoopStalled": "warning",
        "ReuseportReloadAborted": "warning",
    }


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert defects(rule["expr"], notes["summary"] + notes["description"]) == []
    assert "{{ $labels.instance }}" in notes["summary"]
    first = re.search(r"`([^`]+)`", notes["description"])
    assert first is not None
    assert first[1] == "reuseport status"


# ── Prometheus' own word, where it is installed ───────────────────────────────────────────────────────


def promtool(*arguments: str, cwd: Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here: Debian has it in the package prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_alerts_are_raised_by_what_they_are_for(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "alerts.yml", tmp_path)
    shutil.copy(Path(__file__).with_name("alerts_test.yml"), tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml", cwd=tmp_path)


def test_every_query_is_understood(tmp_path: Path) -> None:
    expressions = {target.values[0] for target in TARGETS}
    expressions |= {annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]}
    records = [
        {"record": f"query:{number}", "expr": expression.replace("$__rate_interval", "1m")}
        for number, expression in enumerate(sorted(map(str, expressions)))
    ]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": records}]}))
    told = promtool("check", "rules", "queries.yml", cwd=tmp_path)
    assert f"SUCCESS: {len(records)} rules found" in told


# ── these checks themselves ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expression", "shown", "word"),
    [
        ("reuseport_readiness", "", "reuseport_readiness is not exported"),
        ("sum(up)", "", "no name of ours"),
        ('reuseport_workers{slot="1"}', "", "has no label slot"),
        ('reuseport_workers{state="busy"}', "", "is never busy"),
        ('reuseport_workers{state=~"ready|busy"}', "", "is never ready|busy"),
        ("sum by (slot) (reuseport_workers)", "", "nothing has the labels"),
        ("sum(reuseport_worker_requests_total)", "", "is a counter"),
        ("rate(reuseport_worker_connections[5m])", "", "is no counter"),
        ("sum by (state) (reuseport_workers)", "{{instance}}", "is not left"),
        ("sum(reuseport_workers)", "{{state}}", "is not left"),
        ("reuseport_workers", "{{ $labels.worker }}", "is not left"),
    ],
)
def test_a_mistake_is_found(expression: str, shown: str, word: str) -> None:
    assert any(word in defect for defect in defects(expression, shown))
