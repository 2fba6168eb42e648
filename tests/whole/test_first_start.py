"""Nothing ever was ready: say why once and exit. Something was: keep trying, whatever it does."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.conftest import Launch

LIFESPAN = """
async def app(scope, receive, send):
    await receive()
    {0}
"""
GOOD = """
import plain
app = plain.app
"""


def module(folder: Path, text: str) -> list[str]:
    """Arguments that serve `text` as module `subject`, beside the applications of the tests."""
    (folder / "subject.py").write_text(text)
    return ["subject:app", "--app-dir", str(folder)]


@pytest.mark.parametrize(
    ("text", "said", "options"),
    [
        ("def look():\n    raise RuntimeError('no database')\nlook()\n", "RuntimeError: no database", []),
        ("import sys\nsys.exit('no licence')\n", r"called sys\.exit\('no licence'\) at import", []),
        ("import sys\nsys.exit(0)\n", r"called sys\.exit\(0\) at import", []),
        (
            LIFESPAN.format("await send({'type': 'lifespan.startup.failed', 'message': 'no cache'})"),
            "no cache",
            [],
        ),
        (LIFESPAN.format("raise RuntimeError('no queue')"), "RuntimeError: no queue", ["--lifespan", "on"]),
    ],
    ids=["import", "sys.exit", "sys.exit(0)", "startup.failed", "lifespan raises"],
)
def test_application_that_cannot_start_is_told_once_and_exits_3(
    launch: Launch, tmp_path: Path, text: str, said: str, options: list[str]
) -> None:
    server = launch(*module(tmp_path, text), *options, "--workers", "4")
    assert server.wait() == 3
    assert server.count(said) == 1, server.output
    assert server.count("Traceback") <= 1
    assert server.count("no worker became ready: giving up") == 1
    assert server.count("is ready") == 0


def test_traceback_begins_with_the_application(launch: Launch, tmp_path: Path) -> None:
    server = launch(*module(tmp_path, "def look():\n    1 / 0\nlook()\n"), "--workers", "4")
    assert server.wait() == 3
    frames = [line for line in server.lines if line.startswith('      File "')]
    assert [frame.rpartition(" in ")[2] for frame in frames] == ["<module>", "look"]
    assert server.count("Traceback") == 1


def test_module_that_ends_the_process_exits_3(launch: Launch, tmp_path: Path) -> None:
    server = launch(*module(tmp_path, "import os\nos._exit(5)\n"), "--workers", "4")
    server.wait_for(r"worker in slot \d \(pid \d+\) exited with status 5")
    assert server.wait() == 3


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("no_such_module:app", "could not start: .* module .no_such_module"),
        ("plain:no_such_attribute", "could not start: .*no_such_attribute"),
        ("plain:os", "no ASGI application: module is not callable"),
        ("plain:stream", "add --interface wsgi"),
    ],
)
def test_wrong_name_of_the_application_exits_2(launch: Launch, app: str, said: str) -> None:
    server = launch(app, "--workers", "4")
    assert server.wait() == 2
    assert server.count(said) == 1, server.output
    assert server.count("Traceback") == 0


def test_hang_at_the_first_start_shows_stacks_and_exits_3(launch: Launch, tmp_path: Path) -> None:
    text = "import time\ndef wait_for_godot():\n    time.sleep(600)\nwait_for_godot()\n"
    server = launch(*module(tmp_path, text), "--workers", "2", "--startup-timeout", "3s")
    server.wait_for(r"worker in slot \d was not ready within 3 s \(--startup-timeout\).*: stacks follow")
    server.wait_for_first(r"subject\.py.* in wait_for_godot")  # written by the worker: before that, or after
    assert server.wait() == 3


def test_application_that_fails_later_is_tried_until_it_is_mended(launch: Launch, tmp_path: Path) -> None:
    subject = tmp_path / "subject.py"
    apps = {"PYTHONPATH": str(Path(__file__).parents[1] / "apps") + ":" + os.environ.get("PYTHONPATH", "")}
    server = launch(*module(tmp_path, GOOD), "--workers", "2", env=apps).ready(2)
    before = server.workers()
    subject.write_text("raise RuntimeError('half deployed')\n")
    os.kill(before[1], signal.SIGKILL)
    server.wait_for(r"worker in slot 1 could not start: ")
    server.wait_for(r"RuntimeError: half deployed")
    server.wait_for(r"slot 1 is tried again in [\d.]+ s")
    subject.unlink()
    server.wait_for(r"worker in slot 1 could not start: .* module .subject")
    server.wait_for(r"slot 1 is tried again in [\d.]+ s")
    assert server.workers()[0] == before[0]
    subject.write_text(GOOD)
    server.wait_for(r"slot 1 is ready \(generation 1, .*reason: crash\)")
    assert httpx.get(server.url).status_code == 200
    assert server.stop() == 0
