"""`reuseport check`: imports the application in a throw-away process, and never touches the port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import APPS, PATIENCE, Launch, survivors
from tests.whole.clients import client, environment


def check(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; fails when a process is left."""
    with subprocess.Popen(
        [sys.executable, "-m", "reuseport", "check", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
        start_new_session=True,
    ) as popen:
        stdout, stderr = popen.communicate(timeout=PATIENCE)
    assert survivors(popen.pid) == []
    return popen.returncode, stdout, stderr


def write(directory: Path, text: str) -> None:
    (directory / "application.py").write_text(text)


def test_a_good_application_is_one_line_and_0(tmp_path: Path) -> None:
    code, stdout, stderr = check("plain:app", "--app-dir", str(APPS), cwd=tmp_path)
    assert (code, stdout, stderr) == (0, "plain:app imports, the configuration is valid\n", "")


def test_a_broken_application_is_its_traceback_and_3(tmp_path: Path) -> None:
    write(tmp_path, "def configure():\n    raise LookupError('no database')\n\nconfigure()\n")
    code, stdout, stderr = check("application:app", cwd=tmp_path)
    assert (code, stdout) == (3, "")
    first, *_, last = stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == "LookupError: no database"
    # It begins with the application: neither our frames nor the importer's are in it.
    assert "reuseport/worker" not in stderr
    assert stderr.count("application.py") == 2


def test_an_application_that_writes_to_our_channel_is_told_so(tmp_path: Path) -> None:
    write(
        tmp_path,
        "import os\n"
        "command = open('/proc/self/cmdline', 'rb').read().split(b'\\0')\n"
        "os.write(int(command[command.index(b'--channel') + 1]), b'nonsense')\n"
        "app = print\n",
    )
    code, _, stderr = check("application:app", cwd=tmp_path)
    assert code == 3
    assert "writes to a descriptor that is not its own: b'nonsense' is no JSON" in stderr


def test_an_import_that_fails_inside_the_application_is_the_applications(tmp_path: Path) -> None:
    write(tmp_path, "import nosuchlibrary\n")
    code, _, stderr = check("application:app", cwd=tmp_path)
    assert code == 3
    assert stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nosuchlibrary'"


def test_a_missing_application_is_a_mistake_and_2(tmp_path: Path) -> None:
    code, stdout, stderr = check("nosuch:app", cwd=tmp_path)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("Error: APP 'nosuch:app': there is no module 'nosuch', neither in ")
    assert stderr.count("\n") == 1


def test_a_protocol_that_is_not_installed_is_a_mistake_and_2(tmp_path: Path) -> None:
    arguments = ("plain:app", "--app-dir", str(APPS), "--loop", "nosuch:loop")
    code, stdout, stderr = check(*arguments, cwd=tmp_path)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("Error: --loop 'nosuch:loop': there is no module 'nosuch'")


def test_the_application_finds_its_slot_in_the_environment_as_when_served(tmp_path: Path) -> None:
    write(
        tmp_path,
        "import os\nos.environ['REUSEPORT_SLOT'], os.environ['REUSEPORT_GENERATION']\n"
        "from plain import app\n",
    )
    (tmp_path / "plain.py").write_text((APPS / "plain.py").read_text())
    code, _, stderr = check("application:app", cwd=tmp_path)
    assert (code, stderr) == (0, "")


def test_an_import_that_hangs_is_ended_after_the_startup_timeout(tmp_path: Path) -> None:
    write(tmp_path, "import threading\nthreading.Event().wait()\n")
    code, stdout, stderr = check("application:app", "--startup-timeout", "1s", cwd=tmp_path)
    assert (code, stdout) == (3, "")
    assert stderr == "application:app did not import within 1 s; mend it or raise --startup-timeout\n"


TIDY = """
import atexit, os, subprocess, tempfile, threading
scratch = tempfile.TemporaryDirectory(prefix="scratch-", dir=".")
helper = subprocess.Popen(["sleep", "3600"])
atexit.register(helper.kill)
"""
"""It leaves nothing behind when it ends as a Python program does."""


@pytest.mark.parametrize(
    ("then", "code", "says"),
    [
        ("from plain import app", 0, ""),
        ("1 / 0", 3, "ZeroDivisionError"),
        ("app = None", 2, "NoneType is not callable"),
        ("threading.Event().wait()", 3, "did not import within 2 s"),
        ("threading.Thread(target=threading.Event().wait).start()\nfrom plain import app", 0, ""),
        ("import signal\nsignal.signal(15, signal.SIG_DFL)\nfrom plain import app", 0, ""),
    ],
)
def test_the_application_tidies_up(then: str, code: int, says: str, tmp_path: Path) -> None:
    write(tmp_path, f"{TIDY}{then}\n")
    (tmp_path / "plain.py").write_text((APPS / "plain.py").read_text())
    # `check` fails when a process is left.
    ended, _, stderr = check("application:app", "--startup-timeout", "2s", cwd=tmp_path)
    assert ended == code, stderr
    assert says in stderr
    assert [path.name for path in tmp_path.iterdir() if "scratch" in path.name] == []


def test_also_when_nobody_wants_to_know_any_more(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "imports")
    write(tmp_path, f"{TIDY}open('imports', 'w').close()\nthreading.Event().wait()\n")
    with subprocess.Popen(
        [sys.executable, "-m", "reuseport", "check", "application:app"],
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
        env=environment(),
        start_new_session=True,
    ) as popen:
        (tmp_path / "imports").read_bytes()
        os.killpg(popen.pid, signal.SIGINT)
        assert popen.wait(PATIENCE) != 0
    assert survivors(popen.pid) == []
    assert [path.name for path in tmp_path.iterdir() if "scratch" in path.name] == []


def test_an_application_that_kills_its_process_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "import os\nos._exit(9)\n")
    code, stdout, stderr = check("application:app", cwd=tmp_path)
    assert (code, stdout) == (3, "")
    assert stderr.startswith("application:app does not import: ")
    assert "exited with status 9" in stderr


def test_a_port_that_somebody_else_has_is_no_concern(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code, _, stderr = check("plain:app", "--app-dir", str(APPS), "--port", port, cwd=tmp_path)
        assert (code, stderr) == (0, "")
        other.setblocking(False)
        try:
            other.accept()
        except BlockingIOError:
            return
        raise AssertionError("the check has connected to the port")


def test_a_server_that_runs_there_keeps_every_connection(launch: Launch, tmp_path: Path) -> None:
    server = launch("plain:app", "--workers", "2").ready(2)
    workers = server.workers()
    with client() as asking:
        arguments = ("plain:app", "--app-dir", str(APPS), "--port", str(server.port), "--workers", "2")
        with subprocess.Popen(
            [sys.executable, "-m", "reuseport", "check", *arguments],
            stdout=subprocess.DEVNULL,
            cwd=tmp_path,
            env=environment(),
        ) as popen:
            asked = 0
            # A listener that opened and closed meanwhile would reset some of these, or leave them waiting.
            while popen.poll() is None:
                assert asking.get(server.url).json()["pid"] in workers.values()
                asked += 1
        assert popen.returncode == 0
        assert asked > 0
    assert server.workers() == workers


def test_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    code, _, _ = check("plain:app", "--app-dir", str(APPS), "--uds", str(path), cwd=tmp_path)
    assert code == 0
    assert not path.exists()
