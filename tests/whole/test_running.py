"""The package from Python: scripts that become a server, and servers beside a process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

import reuseport
from reuseport.errors import ApplicationError, ConfigurationError, OverdueError
from tests.conftest import APPS, PATIENCE
from tests.whole.lines import lives, wait_until

APP = """
import json, os, sys

async def app(scope, receive, send):
    told = {"path": sys.path, "pid": os.getpid(), "parent": os.getppid(), "beside": "beside" in sys.modules}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""


def scripted(directory: Path, source: str, name: str = "serve.py") -> Path:
    """A script beside an application, called as from somewhere else."""
    place = directory / "shop"
    place.mkdir(exist_ok=True)
    (place / "shopapp.py").write_text(APP)
    (place / name).write_text(source)
    return place / name


@contextlib.contextmanager
def ended(server: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever fails, it is not waited for: the launcher is told to stop at once."""
    try:
        yield
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGQUIT)


def executed(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=script.parents[1],
    )


def test_a_script_becomes_the_launcher_and_its_exit_status(tmp_path: Path) -> None:
    script = scripted(
        tmp_path,
        "import sys, reuseport\nsys.path.append('/tmp')\nif __name__ == '__main__':\n"
        "    reuseport.run('shopapp:app', workers=2, port=0, lifespan='off', graceful_timeout='5s')\n"
        "    print('never')\n",
    )
    # Another one in the current directory is none of the script's.
    (tmp_path / "shopapp.py").write_text("raise ImportError('not this one')")
    (tmp_path / "current").symlink_to(script.parent)
    script = tmp_path / "current" / script.name
    with (
        subprocess.Popen(
            [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, cwd=tmp_path
        ) as server,
        ended(server),
    ):
        assert server.stderr is not None
        said = ""
        while "all 2 workers are ready" not in said:
            line = server.stderr.readline()
            assert line, said
            said += line
        url = re.search(r"on (http://\S+)", said)
        assert url is not None
        told = httpx.get(url[1]).json()
        assert told["parent"] == server.pid, "it is the launcher itself"
        assert told["path"][0] == str(script.parent)
        assert "/tmp" in told["path"]
        command = psutil.Process(server.pid).cmdline()
        assert command[command.index("-m") :][:4] == ["-m", "reuseport", "shopapp:app", "--workers=2"]
        server.send_signal(signal.SIGTERM)
        assert "stopped, exit code 0" in server.stderr.read()
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("reuseport.run('nothing:app', port=0)", 2, "there is no module 'nothing'"),
        ("reuseport.run('shopapp:app', wrokers=2)", 1, "did you mean 'workers'?"),
        ("reuseport.run('shopapp:app', http2=True)", 1, "ConfigurationError: --http2 needs --http zttp"),
        ("app = object()\nreuseport.run(app)", 1, 'not an object: say "serve:app"'),
        ("import shopapp\nreuseport.run(shopapp.app)", 1, 'say "shopapp:app"'),
        (
            "import asyncio\nasync def main(): reuseport.run('shopapp:app')\nasyncio.run(main())",
            1,
            "`with reuseport.serving(…)` starts the server beside it",
        ),
        (
            "import threading\nt = threading.Thread(target=reuseport.run)\nt.start()\nt.join()\nexit(5)",
            5,
            "call it in the main thread",
        ),
    ],
)
def test_what_cannot_be_served_says_so(tmp_path: Path, source: str, code: int, words: str) -> None:
    done = executed(scripted(tmp_path, f"import reuseport\n{source}\n"))
    assert words in done.stderr
    assert done.returncode == code


def test_a_script_that_workers_import_does_not_begin_again_in_them(tmp_path: Path) -> None:
    script = scripted(
        tmp_path, "import reuseport\n\nfrom shopapp import app\n\nreuseport.run('serve:app', port=0)\n"
    )
    done = executed(script)
    assert "run() is called while a worker imports the application" in done.stderr
    assert done.returncode == 3


# ── beside this process ───────────────────────────────────────────────────────────────────────────────


def test_a_server_serves_in_the_block_and_is_gone_afterwards() -> None:
    with reuseport.serving("plain:app", workers=2, app_dir=APPS) as server:
        assert httpx.get(server.url).status_code == 200
        assert server.status()["ready"] == 2
        assert psutil.Process(server.pid).ppid() == os.getpid()
        launcher = psutil.Process(server.pid)
    assert server.exit_code == 0
    assert not lives(launcher)
    assert "stopped, exit code 0" in server.output
    assert not Path(server._log).exists()


def test_whatever_ends_the_block_the_server_is_gone() -> None:
    launchers = []

    def fail() -> None:
        with reuseport.serving("plain:app", app_dir=APPS) as server:
            launchers.append(psutil.Process(server.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [lives(launcher) for launcher in launchers] == [False]


@pytest.mark.parametrize("name", ["nothing:app", "odd:broken_at_import"])
def test_a_start_that_fails_is_the_error_that_the_command_ends_with(name: str, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("1 / 0")
    kind, words = {
        "nothing:app": (ConfigurationError, "there is no module 'nothing'"),
        "odd:broken_at_import": (ApplicationError, "ZeroDivisionError"),
    }[name]
    with pytest.raises(kind, match=words), reuseport.serving(name, app_dir=tmp_path):
        pytest.fail("it cannot be served")


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(60)")
    before = {child.pid for child in psutil.Process().children()}
    with (
        pytest.raises(OverdueError, match=r"not all workers are ready after 0\.3 s"),
        reuseport.serving("slow:app", app_dir=tmp_path, within=0.3, worker_timeout=7),
    ):
        pytest.fail("it is not even imported")
    assert {child.pid for child in psutil.Process().children()} <= before


def test_it_works_in_a_thread_and_twice_at_once() -> None:
    urls: list[str] = []

    def serve() -> None:
        with (
            reuseport.serving("plain:app", app_dir=APPS) as one,
            reuseport.serving("plain:app", app_dir=APPS) as other,
        ):
            urls.extend(server.url for server in (one, other) if httpx.get(server.url).status_code == 200)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(2 * PATIENCE)
    assert len(set(urls)) == 2


def test_when_this_process_is_killed_the_server_stops() -> None:
    code = (
        "import signal, reuseport\n"
        f"with reuseport.serving('plain:app', app_dir={str(APPS)!r}) as server:\n"
        "    print(server.pid, flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        launcher = psutil.Process(int(process.stdout.readline()))
        process.kill()
    wait_until(lambda: not lives(launcher))


@pytest.mark.parametrize("said", ["keyword", "environment"])
def test_without_a_control_socket_nobody_can_be_asked(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if said == "environment":
        monkeypatch.setenv("REUSEPORT_NO_CONTROL", "yes")
    keyword = True if said == "keyword" else None
    with (
        pytest.raises(ConfigurationError, match="leave out no_control"),
        reuseport.serving(no_control=keyword),
    ):
        pytest.fail("nobody could tell when it serves")
