"""Whoever asks, the answer is the same: status, metrics, kernel and psutil, under load and after deaths."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.admin.asking import Control
from tests.conftest import Launch
from tests.whole.lines import GET, Lines, Load, queued, stop_process, wait_until
from tests.whole.traffic import wait_for_lines

DEATHS = 10
REQUESTS = 10_000
"""The full size, 100,000, is `python -m bench.totals`."""


def by_slot(text: str, name: str) -> dict[int, float]:
    """The samples of a metric that has one for each worker."""
    return {
        int(sample.labels["worker"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def answers(status: dict[str, Any]) -> int:
    """2xx, of all slots."""
    return sum(int(slot["responses"]["2xx"]) for slot in status["slots"])


def test_totals_are_exact_after_deaths(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "3", "--no-access-log").ready(3)
    control = Control(server)
    with Load(server.port, lasting=6, fresh=2) as load:
        for death in range(DEATHS):
            load.wait_for_more(REQUESTS // DEATHS // 4)
            slot = death % 3
            before = control.slot(slot)
            os.kill(before["pid"], signal.SIGKILL)
            wait_until(
                lambda was=before: control.slot(was["slot"])["restarts"] > was["restarts"],  # type: ignore[misc]
                lambda: server.output,
            )
    answered = sum(load.answered.values())
    wait_until(lambda: control.status()["ready"] == 3, lambda: server.output)
    status = control.status()
    # An answer that was counted and never came is one of those on which a client saw its connection end.
    assert answered <= answers(status) <= answered + len(load.failures), load.failures
    assert sum(slot["restarts"] for slot in status["slots"]) == DEATHS
    assert status["exits"] == {"SIGKILL": DEATHS}
    assert status["spawns"] == {"start": 3, "crash": DEATHS}
    durations = sum(sum(slot["durations"]["counts"]) for slot in status["slots"])
    assert durations == answers(status)


def test_everybody_agrees_under_load(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2", "--admin", "127.0.0.1:0", "--no-access-log").ready(2)
    control = Control(server)
    with Lines() as lines:
        lines.open(server.port, 20)
        with Load(server.port, lasting=4, fresh=0) as load:
            load.wait_for_more(200)
            wait_until(lambda: sum(slot["connections"] for slot in control.status()["slots"]) == 24)
            before = control.status()
            text = control.get("/metrics").decode()
            after = control.status()
            workers = set(server.workers().values())
            established = sum(
                connection.status == psutil.CONN_ESTABLISHED and connection.pid in workers
                for connection in psutil.net_connections("tcp4")
            )
            load.wait_for_more(10)
    for code in ("2xx", "5xx"):
        total = sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "reuseport_worker_requests_total" and sample.labels["code"] == code
        )
        least, most = (sum(slot["responses"][code] for slot in each["slots"]) for each in (before, after))
        assert least <= total <= most
    assert sum(by_slot(text, "reuseport_worker_connections").values()) == 24
    assert established == 24
    for slot, pid in server.workers().items():
        process = psutil.Process(pid)
        resident = by_slot(text, "reuseport_worker_resident_memory_bytes")[slot]
        assert resident == pytest.approx(process.memory_info().rss, rel=0.2)
        used = process.cpu_times()
        shown = control.slot(slot)["cpu"]
        assert shown == pytest.approx(used.user + used.system, abs=1.0)
    wait_until(lambda: all(slot["pss"] for slot in control.status()["slots"]))
    for slot in control.status()["slots"]:
        assert 0 < slot["pss"] <= slot["rss"] * 1.1


def test_the_accept_queue_is_the_kernels(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--worker-timeout", "0").ready(1)
    control = Control(server)
    pid = server.workers()[0]
    stop_process(pid)
    try:
        with closing(socket.create_connection(("127.0.0.1", server.port))) as one:
            one.sendall(GET)
            with closing(socket.create_connection(("127.0.0.1", server.port))):
                wait_until(lambda: control.slot(0)["accept_queue"]["length"] == 2, control.status)
                assert sum(queued(server.port).values()) == 2
    finally:
        os.kill(pid, signal.SIGCONT)
    assert control.slot(0)["accept_queue"]["limit"] == min(
        2048, int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    )


def test_history_log_and_status_say_the_same(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    control = Control(server)
    control.post("/api/v1/reload")
    server.wait_for("serves in every slot")
    os.kill(server.workers()[1], signal.SIGKILL)
    server.wait_for(r"slot 1 is ready \(generation 2, .*, reason: crash\)")
    for record in control.events():
        if record["level"] != "debug":
            wait_for_lines(server, rf"launcher: {re.escape(record['text'])}$", 1)
    kinds = [record["kind"] for record in control.events()]
    for kind in ("starting", "ready", "all_ready", "reload_begun", "exited", "reload_done", "crashed"):
        assert kind in kinds
    crashed = next(record for record in control.events() if record["kind"] == "crashed")
    assert (crashed["slot"], crashed["generation"], crashed["cause"]) == (1, 2, "crash")
    assert control.slot(1)["last_exit"] == crashed["text"]


def test_nobody_is_asked_for_who_is_not_there() -> None:
    """`Control` itself fails loudly where nothing serves."""
    with pytest.raises((OSError, http.client.HTTPException)):
        Control.at(Path("/nonexistent/socket")).status()
