"""Bad input: exit code 2, one message that names the fix, nothing listening, no process left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.conftest import APPS, PATIENCE, Launch, survivors
from tests.whole.clients import client, environment, listening
from tests.whole.lines import wait_until

RUN = [sys.executable, "-m", "reuseport"]


@contextmanager
def stranger(port: int, *options: int, uid: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Another program that listens on the port of 127.0.0.1, as another user if asked."""
    script = (
        "import os, socket, sys\n"
        "port, uid, *options = map(int, sys.argv[1:])\n"
        # Only now: the interpreter may lie where nobody else can read.
        "if uid >= 0: os.setuid(uid)\n"
        "with socket.socket() as s:\n"
        "    for option in options: s.setsockopt(socket.SOL_SOCKET, option, 1)\n"
        "    s.bind(('127.0.0.1', port)); s.listen()\n"
        "    print(s.getsockname()[1], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    arguments = [str(port), str(-1 if uid is None else uid), *map(str, options)]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as popen:
        yield popen
        # Popen's exit closes stdin, which ends it.


def port_of(popen: subprocess.Popen[bytes]) -> int:
    assert popen.stdout is not None
    return int(popen.stdout.readline())


def run(
    arguments: Sequence[str], cwd: Path, wrapper: Sequence[str] = (), command: Sequence[str] = RUN
) -> tuple[int, str]:
    """Exit code and stderr of the whole command; fails when it prints elsewhere or leaves a process."""
    with subprocess.Popen(
        [*wrapper, *command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment(),
        start_new_session=True,
    ) as popen:
        try:
            stdout, stderr = popen.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)
            raise
    assert stdout == ""
    assert survivors(popen.pid) == []
    return popen.returncode, stderr


def only_message(code: int, stderr: str, mark: str) -> str:
    """What stands after the mark in a refusal, which must say it once."""
    assert code == 2, stderr
    assert "Traceback" not in stderr
    messages = [line.partition(mark)[2] for line in stderr.splitlines() if mark in line]
    assert len(messages) == 1, stderr
    return messages[0]


def refused(*arguments: str, cwd: Path, wrapper: Sequence[str] = (), command: Sequence[str] = RUN) -> str:
    """The one message of a command that refuses before anything has started."""
    return only_message(*run(arguments, cwd, wrapper, command), "Error: ")


# ── the application ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("nosuch:app", ["nosuch", "--app-dir", f"neither in {APPS} nor installed"]),
        ("nosuch.web:app", ["'nosuch'", "--app-dir"]),
        ("mirror:ap", ["has no 'ap'", "did you mean 'app'?"]),
        ("mirror:not_callable", ["no ASGI application", "str is not callable"]),
        ("mirror:wsgi", ["no ASGI application", "--interface wsgi"]),
    ],
)
def test_an_application_that_cannot_be_one(app: str, words: list[str], tmp_path: Path) -> None:
    arguments = [app, "--workers", "2", "--port", "0", "--app-dir", str(APPS)]
    code, stderr = run(arguments, tmp_path)
    message = only_message(code, stderr, "could not start: ")
    for word in [app, *words]:
        assert word in message
    announced = re.search(r"http://127\.0\.0\.1:(\d+)", stderr)
    assert announced is not None
    assert not listening(int(announced[1]))


def test_an_app_dir_that_is_none(tmp_path: Path) -> None:
    code, stderr = run(["mirror:app", "--port", "0", "--app-dir", "missing"], tmp_path)
    assert f": {tmp_path}/missing is no directory;" in only_message(code, stderr, "could not start: ")


def test_more_ready_workers_than_there_are(tmp_path: Path) -> None:
    message = refused("--port", "0", "--workers", "2", "--min-ready", "3", cwd=tmp_path)
    assert message.startswith("--min-ready 3 of 2 workers: ")
    assert message.endswith("give it no more than --workers")


# ── the command line and the file ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_of_workers_that_is_none(number: str, tmp_path: Path) -> None:
    message = refused("--workers", number, cwd=tmp_path)
    assert number in message
    assert "write 1 or more, or auto" in message


def test_an_unknown_flag(tmp_path: Path) -> None:
    message = refused("--wrokers", "2", cwd=tmp_path)
    assert "'--wrokers'" in message
    assert "--workers" in message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "reuseport.toml",
            "wrokers = 2",
            "reuseport.toml: there is no setting 'wrokers'; did you mean 'workers'?",
        ),
        (
            "pyproject.toml",
            "[tool.reuseport]\nbackllog = 2",
            "pyproject.toml: there is no setting 'backllog'; did you mean 'backlog'?",
        ),
        ("reuseport.toml", "workers: 2", "reuseport.toml is not TOML: "),
    ],
)
def test_a_file_that_is_wrong(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert refused(cwd=tmp_path).startswith(message)


def test_another_system(tmp_path: Path) -> None:
    script = (
        "import runpy, sys; sys.platform = 'darwin'; sys.argv = ['reuseport', '--port', '0']; "
        "runpy.run_module('reuseport', run_name='__main__')"
    )
    message = refused(cwd=tmp_path, command=[sys.executable, "-c", script])
    assert message == "reuseport needs Linux; on darwin run uvicorn itself."


# ── the port ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_port_that_a_program_without_reuseport_has(tmp_path: Path) -> None:
    with stranger(0) as other:
        port = port_of(other)
        message = refused("--port", str(port), cwd=tmp_path)
    assert f"127.0.0.1:{port} is in use: pid {other.pid} (" in message
    assert "without SO_REUSEPORT; stop it, or choose another port" in message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another user")
@pytest.mark.parametrize("join", [[], ["--join"]])
def test_a_port_that_another_user_shares(join: list[str], tmp_path: Path) -> None:
    with stranger(0, socket.SO_REUSEPORT, uid=65534) as other:
        port = port_of(other)
        message = refused("--port", str(port), *join, cwd=tmp_path)
    assert f"127.0.0.1:{port} is in use: pid {other.pid} (" in message
    assert "as another user, and only one user's sockets may share a port" in message
    assert "choose another port" in message


def test_a_second_start_on_the_same_port_needs_join(launch: Launch, tmp_path: Path) -> None:
    first = launch("plain:app", "--balance", "hash").ready(1)
    message = refused("--port", str(first.port), cwd=tmp_path)
    assert f"port {first.port} is already served by pid {first.pid} (" in message
    assert "--join" in message
    second = launch("plain:app", "--port", str(first.port), "--join").ready(1)
    both = {*first.workers().values(), *second.workers().values()}
    met: set[int] = set()
    with client() as asking:

        def all_met() -> bool:
            met.add(asking.get(first.url).json()["pid"])
            return met == both

        wait_until(all_met, lambda: f"{met} of {both}")


def unprivileged(*namespaces: str) -> list[str]:
    """A wrapper that leaves us our files and takes all capabilities: the new namespace maps nobody."""
    wrapper = ["unshare", "--user", *namespaces]
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this host allows no user namespace")
    return wrapper


def test_a_privileged_port_without_the_right(tmp_path: Path) -> None:
    # A new network namespace starts with ip_unprivileged_port_start at 1024, whatever the host has.
    message = refused("--bind", "0.0.0.0:80", cwd=tmp_path, wrapper=unprivileged("--net"))
    assert message.startswith("0.0.0.0:80 is forbidden: ports below 1024 need CAP_NET_BIND_SERVICE")
    assert "choose port 1024 or above" in message


def test_a_current_directory_that_we_may_not_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    closing = ["sh", "-ec", f'cd {closed}; exec "$@"', "sh", *unprivileged()]
    message = refused("--port", "0", cwd=tmp_path, wrapper=closing)
    assert message.startswith("we may not look for reuseport.toml in the current directory")


# ── the certificate ───────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_without_its_key(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    trustme.CA().issue_cert("localhost").cert_chain_pems[0].write_to_path(certificate)
    message = refused("--ssl-certfile", str(certificate), "--port", "0", cwd=tmp_path)
    assert message == f"{certificate} holds no private key: give the key's file with --ssl-keyfile"


def test_a_certificate_that_we_may_not_read(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    certificate.chmod(0)
    message = refused("--ssl-certfile", str(certificate), "--port", "0", cwd=tmp_path, wrapper=unprivileged())
    assert message == f"cannot read --ssl-certfile {certificate}: Permission denied"


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(b"\x00garbage")
    message = refused("--ssl-certfile", str(certificate), "--port", "0", cwd=tmp_path)
    assert message == f"--ssl-certfile {certificate} holds no certificate in PEM form"


def test_a_log_file_that_cannot_be_written(tmp_path: Path) -> None:
    for flag in ("--log-file", "--access-log-file"):
        message = refused("--port", "0", f"{flag}={tmp_path}/missing/x.log", cwd=tmp_path)
        assert message.startswith(f"{flag} {tmp_path}/missing/x.log cannot be written: No such file or dir")


def test_a_log_configuration_that_is_none(tmp_path: Path) -> None:
    for name, text in (
        ("log.json", "{"),
        ("log.ini", "[loggers]"),
        ("log.yaml", "version: 2"),
        ("log.py", "LOGGING = {}"),
        ("twice.ini", "[loggers]\nkeys=root\n[loggers]\nkeys=root\n"),
    ):
        (tmp_path / name).write_text(text)
        code, stderr = run(["--port", "0", f"--log-config={name}"], tmp_path)
        assert name in only_message(code, stderr, "Error: ")
