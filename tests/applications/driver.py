"""What every application of the shelf goes through, where it is installed (scripts/applications).

`on_NAME.py` is an application and its client:

    # requires: …           for pip
    app                     what is served
    FLAGS                   of the server, if any
    WRAPPER                 what the command is started with, if anything
    use(url)                uses it as its clients do; what it returns must be the same under uvicorn
    follow(url, begun)      optional: a stream, from `begun.set()` to its end at the server's stop; likewise
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE, Launch, Launched
from tests.whole.clients import listening
from tests.whole.lines import settled, wait_until

HERE = Path(__file__).parent
NAMES = os.environ.get("APPLICATIONS", "").split()
USERS = 3
STOP = 10.0
"""Seconds that a stop may take while a stream is open: less than the graceful timeout."""


@pytest.fixture(params=NAMES)
def application(request: pytest.FixtureRequest) -> Any:
    return import_module(f"on_{request.param}")


def start(launch: Launch, application: Any, module: str = "reuseport") -> Launched:
    flags = [*getattr(application, "FLAGS", []), "--workers", "2", "--app-dir", str(HERE)]
    server = launch(
        f"{application.__name__}:app", *flags, module=module, wrapper=getattr(application, "WRAPPER", ())
    )
    wait_until(lambda: listening(server.port), lambda: server.output)
    if module == "reuseport":
        server.ready(2)
    return server


class Users:
    """They use the application again and again, and note what did not go well."""

    def __init__(self, application: Any, url: str, expected: object) -> None:
        self.times = 0
        self.failures: list[str] = []
        self._over = threading.Event()
        self._application = application
        self._url = url
        self._expected = expected
        self._threads = [threading.Thread(target=self._use) for _ in range(USERS)]

    def _use(self) -> None:
        while not self._over.is_set():
            try:
                answer = plain(self._application.use(self._url))
            except Exception:  # noqa: BLE001 - whatever a client library raises is what its user sees
                self.failures.append(traceback.format_exc())
                self._over.wait(0.1)
            else:
                if answer != self._expected:
                    self.failures.append(f"{answer} instead of {self._expected}")
                self.times += 1

    def wait_for_more(self) -> None:
        before = self.times
        wait_until(lambda: self.times > before + 2 * USERS, lambda: "\n".join(self.failures[:3]))

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)


@contextmanager
def followed(application: Any, url: str) -> Iterator[list[object]]:
    """A stream that is open meanwhile, and afterwards how it ended."""
    begun, ended = threading.Event(), list[object]()

    def follow() -> None:
        try:
            ended.append(plain(application.follow(url, begun)))
        except Exception as error:  # noqa: BLE001 - as above
            ended.append(repr(error))
            begun.set()

    if not hasattr(application, "follow"):
        yield ended
        return
    thread = threading.Thread(target=follow)
    thread.start()
    assert begun.wait(PATIENCE)
    yield ended
    thread.join(PATIENCE)


def plain(answer: object) -> object:
    """As it can be compared."""
    return json.loads(json.dumps(answer))


def test_used_and_stopped_as_under_uvicorn(application: Any, launch: Launch) -> None:
    answers: dict[str, object] = {}
    for module in ("uvicorn", "reuseport"):
        server = start(launch, application, module)
        used = plain(application.use(server.url))
        with followed(application, server.url) as ended:
            begun = time.monotonic()
            server.signal(signal.SIGTERM)
            code = server.wait()
            took = time.monotonic() - begun
        answers[module] = (used, ended, code)
        assert took < STOP, server.output
        assert "Traceback" not in server.output, server.output
    assert answers["reuseport"] == answers["uvicorn"]


def test_reloaded_and_killed_under_use(application: Any, launch: Launch) -> None:
    server = start(launch, application)
    expected = plain(application.use(server.url))
    with Users(application, server.url, expected) as users:
        users.wait_for_more()
        server.signal(signal.SIGHUP)
        server.wait_for("generation 2 serves in every slot")
        settled(server, 2)
        users.wait_for_more()
        assert users.failures == []
        killed = server.workers()[1]
        os.kill(killed, signal.SIGKILL)
        server.wait_for("slot 1 is ready .* reason: crash")
        # What the killed worker was executing: each user does one thing at a time.
        assert_few(users.failures)
        users.wait_for_more()
        assert_few(users.failures)
    assert server.stop() == 0
    assert "Traceback" not in server.output, server.output


def assert_few(failures: Sequence[str]) -> None:
    assert len(failures) <= USERS, "\n".join(failures)
