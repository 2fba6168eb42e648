"""Byte for byte what uvicorn answers: odd requests, odd applications, WebSockets, and pools of processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Launch
from tests.whole.clients import listening
from tests.whole.lines import wait_until
from tests.whole.odd_requests import PROCESSES, REQUESTS, WEBSOCKETS, Step, play

Cases = Mapping[str, Sequence[Step]]


UNLIMITED = ("--limit-request-head", "none", "--limit-request-fields", "none")
BETTER = {
    # What it takes for the next request, we take for the body that it is (test_declined.py); and what comes
    # behind a body for no headers (test_heads.py).
    "httptools": {"post that upgrades", "chunked with trailers"},
    # The other parser refuses it for both of us (test_bounded.py).
    "h11": {"chunked and a length"},
}


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_odd_requests_are_answered_alike(http: str, launch: Launch) -> None:
    # Beyond the limits of ours, which uvicorn has not, we answer otherwise (test_heads.py).
    both = served(launch, "--http", http, unlimited=True)
    better = BETTER[http]
    cases = {name: steps for name, steps in REQUESTS.items() if name not in better}
    assert len(cases) == len(REQUESTS) - len(better)
    assert list(differences(both, cases)) == []
    assert list(differences(both, WEBSOCKETS)) == []


def test_websockets_of_the_other_library_too(launch: Launch) -> None:
    assert list(differences(served(launch, "--ws", "wsproto"), WEBSOCKETS)) == []


def test_processes_of_an_application_are_its_own(launch: Launch) -> None:
    assert list(differences(served(launch, "--workers", "2"), PROCESSES)) == []


def served(launch: Launch, *flags: str, unlimited: bool = False) -> tuple[int, int]:
    """The ports of uvicorn and of ours, with the same application."""
    theirs = launch("odd:app", *flags, module="uvicorn")
    ours = launch("odd:app", *flags, *(UNLIMITED if unlimited else ()))
    ports = theirs.port, ours.port
    # uvicorn tells of its workers' start before they listen.
    wait_until(lambda: all(map(listening, ports)))
    return ports


def differences(both: tuple[int, int], cases: Cases) -> Iterator[str]:
    """What is not the same, for people."""
    with ThreadPoolExecutor(2) as pool:
        for name, steps in cases.items():
            theirs, ours = pool.map(lambda port: play(port, steps), both)  # noqa: B023 - of this turn
            if theirs != ours:
                yield f"{name}: uvicorn {theirs[:600]!r} and we {ours[:600]!r}"
