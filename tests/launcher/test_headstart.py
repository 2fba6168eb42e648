"""The first mold's head start: when there is one, what it is told, and that none is left."""

from __future__ import annotations

import os
import resource
import select
import socket

import psutil
import pytest

from reuseport.agreement import AGREEMENT
from reuseport.channel import Channel
from reuseport.launcher import headstart
from reuseport.launcher.execution import Execution
from reuseport.messages import FROM_MOLD, Failed, FromMold, Prepare, Prepared
from reuseport.settings.table import Settings
from tests.conftest import PATIENCE, Launch, survivors

PLAIN = ["shop:app", "--workers", "4"]


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment either, where all tests run without molds."""
    for name in headstart.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("words", "variables", "plain"),
    [
        (PLAIN, {}, True),
        ([], {}, False),
        (["check", "shop:app"], {}, False),
        (["status", "--url", "http://localhost:1"], {}, False),
        (["--workers", "4", "shop:app"], {}, False),  # it would take reading the command line
        ([*PLAIN, "--no-mold"], {}, False),
        ([*PLAIN, "--user=www-data"], {}, False),
        ([*PLAIN, "-uwww-data"], {}, False),
        ([*PLAIN, "-g", "www-data"], {}, False),
        ([*PLAIN, "--help"], {}, False),
        (PLAIN, {"REUSEPORT_USER": "www-data"}, False),
        (PLAIN, {"REUSEPORT_MOLD": "off"}, False),
    ],
)
def test_only_a_plain_command_line_gives_one(
    words: list[str], variables: dict[str, str], plain: bool
) -> None:
    assert headstart.is_plain(words, variables) == plain


@pytest.mark.parametrize("number", ["2", "99999", "1" * 20, "many"])
def test_nothing_of_ours_is_taken_for_what_the_service_manager_promises(launch: Launch, number: str) -> None:
    wrapper = ["sh", "-c", 'export LISTEN_PID=$$; exec "$@"', "sh"]
    server = launch("plain:app", wrapper=wrapper, env={"LISTEN_FDS": number})
    assert server.wait() == 2
    assert "LISTEN_FDS" in server.output
    assert "Traceback" not in server.output


def answer(agreement: str) -> FromMold:
    """What one says that is told this and then to prepare."""
    begun = headstart.begun(PLAIN)
    assert begun is not None
    pidfd, fd = begun.take()
    execution, end = Execution(begun.pid, pidfd), socket.socket(fileno=fd)
    end.send(agreement.encode())
    channel = Channel(end, FROM_MOLD)
    try:
        channel.send(Prepare(Settings().to_json()))
        assert select.select([channel], [], [], PATIENCE)[0]
        ((message, _),) = channel.receive()
        return message
    finally:
        channel.close()
        execution.end(0)


def test_it_prepares_for_a_launcher_that_agrees() -> None:
    assert isinstance(answer(AGREEMENT), Prepared)


def test_it_does_not_for_one_of_another_version() -> None:
    said = answer("0.0.1/00000000")
    assert isinstance(said, Failed)
    assert "restart the launcher" in said.text


def test_one_that_nobody_takes_is_gone() -> None:
    begun = headstart.begun(PLAIN)
    assert begun is not None
    begun.end()
    assert not psutil.pid_exists(begun.pid)
    begun.end()  # and that may be said again


def test_without_a_descriptor_for_it_there_is_none_and_nobody_is_left() -> None:
    before = psutil.Process().children()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    # Two, for the channel's ends.
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, hard))
    try:
        assert headstart.begun(PLAIN) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert psutil.Process().children() == before


@pytest.mark.parametrize("wrong", ["--no-such-flag", "--workers=none", "--ssl-certfile=/nowhere"])
def test_a_command_that_is_refused_leaves_none(wrong: str, launch: Launch) -> None:
    refused = launch("plain:app", wrong)
    assert refused.wait() == 2
    assert survivors(refused.pid) == []
