"""Workers that were taken over, against a real launcher: each hurts itself, and nobody else."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reuseport.messages import (
    TO_LAUNCHER,
    TO_WORKER,
    CannotFoster,
    Drain,
    Failed,
    Holds,
    Leaving,
    LimitReached,
    Listens,
    Message,
    Ready,
    ShuttingDown,
    Waits,
)
from reuseport.packets import encode
from tests.admin.asking import Control
from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.lines import EXITED, Line, wait_until

LIES: dict[str, tuple[bytes, int, str]] = {
    "no JSON": (b"\x00nonsense", 0, "is no JSON"),
    "an unknown kind": (b'{"kind": "Nonsense"}', 0, "no message of the kind 'Nonsense'"),
    "the launcher's own": (encode(Drain(30.0)), 0, "no message of the kind 'Drain'"),
    "Ready again": (encode(Ready()), 0, "says Ready after it has said that it is ready"),
    "Failed afterwards": (encode(Failed("operator", "!")), 0, "says Failed after it has said"),
    "descriptors": (encode(Leaving()), 200, "descriptors came with a message"),
    "an odd number": (b'{"kind": "LimitReached", "requests": -1}', 0, "LimitReached.requests is -1"),
}


def lie(server: Launched, packet: bytes, fds: int = 0, times: int = 1) -> int:
    """Have some worker say that; which slot's, as far as it lived to tell."""
    try:
        answer = httpx.post(f"{server.url}/?fds={fds}&times={times}", content=packet, timeout=PATIENCE)
    except httpx.TransportError:
        return -1  # killed before it had answered
    return int(answer.json()["slot"])


def answers(server: Launched) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(server.url, timeout=PATIENCE).status_code == 200
    return False


def descriptors(server: Launched) -> int:
    return len(list(Path(f"/proc/{server.pid}/fd").iterdir()))


def status(control: Control) -> dict[str, Any]:
    code, body = control.ask("GET", "/api/v1/status")
    assert code == 200
    told: dict[str, Any] = json.loads(body)
    return told


def heal(control: Control, workers: int) -> None:
    """Whoever waits to be tried again is started at once, until every slot is served."""

    def healed() -> bool:
        told = status(control)
        for slot in told["slots"]:
            if slot["state"] in ("backoff", "empty"):
                control.ask("POST", f"/api/v1/slots/{slot['slot']}/restart")
        return bool(told["ready"] == workers)

    wait_until(healed, lambda: json.dumps(status(control)))


def test_each_lie_condemns_its_worker_and_nobody_else(launch: Launch) -> None:
    server = launch("liar:app", "--workers", "2", "--lifespan", "off").ready(2)
    control = Control(server)
    heal(control, 2)
    before = descriptors(server)
    for number, (packet, fds, words) in enumerate(LIES.values(), 1):
        workers = server.workers()
        lie(server, packet, fds)
        server.wait_for(f"ERROR .*worker in slot . does not keep to the protocol: .*{words}.*: SIGKILL")
        heal(control, 2)
        assert len(set(workers.values()) & set(server.workers().values())) == 1, "the other one goes on"
        assert status(control)["violations"] == number
    assert status(control)["spawns"]["violation"] >= 1, "the others are restarts, so as not to wait"
    wait_until(lambda: descriptors(server) <= before, lambda: str(descriptors(server)))
    assert server.stop() == 0
    assert "Traceback" not in server.output


@pytest.mark.parametrize("fds", [0, 20])
def test_a_flood_ends_whoever_sends_it_and_holds_nobody_up(launch: Launch, fds: int) -> None:
    server = launch("liar:app", "--workers", "2", "--lifespan", "off").ready(2)
    control = Control(server)
    lie(server, encode(Leaving()), fds, times=0)
    words = "descriptors came" if fds else "it says more than"
    server.wait_for(f"does not keep to the protocol: {words}")
    began = time.monotonic()
    assert answers(server)
    assert status(control)["violations"] == 1
    assert time.monotonic() - began < PATIENCE / 3, "far less than a flood without an end would take"
    heal(control, 2)
    assert server.stop() == 0


def test_a_worker_that_closes_its_channel_is_replaced_and_nobody_is_cut_off(launch: Launch) -> None:
    server = launch("liar:app", "--workers", "1", "--lifespan", "off", "--graceful-timeout", "10m").ready(1)
    with Line(server.port) as line:
        before = line.ask().body
        assert httpx.post(f"{server.url}/?close=1", timeout=PATIENCE).status_code == 200
        server.wait_for("will be recycled: it closed its channel")
        server.wait_for("slot 0 is ready .*reason: terminated")
        assert line.ask().body == before, "its connection goes on, and is told to end"
    server.wait_for(EXITED)
    assert answers(server)
    assert server.stop() == 0


# ── whatever they say ─────────────────────────────────────────────────────────────────────────────────

NUMBERS = st.integers(-1, 2**70) | st.floats(allow_nan=False)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.just(Listens()),
    st.just(Ready()),
    st.builds(Failed, st.sampled_from(["operator", "application"]), st.text(max_size=50)),
    st.builds(LimitReached, st.integers(0, 9)),
    st.just(Leaving()),
    st.builds(Holds, st.lists(st.text(max_size=99), max_size=9).map(tuple)),
    st.builds(Waits, st.integers(0, 9), st.text(max_size=99), st.none() | st.floats(0, 99)),
    st.builds(ShuttingDown, st.integers(0, 9)),
    st.builds(CannotFoster, st.integers(0, 9)),
    st.builds(Drain, st.floats(0, 9), st.just(())),
)
OBJECTS = st.dictionaries(
    st.sampled_from(["kind", "text", "blame", "requests", "slot"]),
    st.sampled_from([*TO_LAUNCHER.kinds, *TO_WORKER.kinds]) | NUMBERS | st.text(max_size=9) | st.none(),
)
PACKETS = (
    st.binary(min_size=1, max_size=99)
    | MESSAGES.map(encode)
    | OBJECTS.map(lambda fields: json.dumps(fields).encode())
)
TALES = st.lists(
    st.tuples(PACKETS, st.sampled_from([0, 0, 0, 1, 99]), st.integers(1, 3)), min_size=1, max_size=4
)


@pytest.fixture
def liars(launch: Launch) -> Launched:
    return launch("liar:app", "--workers", "2", "--lifespan", "off").ready(2)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(tale=TALES)
def test_whatever_workers_say_supervision_probes_and_answers_go_on(
    liars: Launched, tale: list[tuple[bytes, int, int]]
) -> None:
    control = Control(liars)
    for packet, fds, times in tale:
        lie(liars, packet, fds, times)
        assert control.ask("GET", "/livez")[0] == 200
    heal(control, 2)
    assert answers(liars)
    assert control.ask("GET", "/readyz")[0] == 200
    assert descriptors(liars) < 100
    assert "defect" not in liars.output
