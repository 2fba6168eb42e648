"""What surrounds the processes: variables, files, interpreter flags, and what the launcher never loads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.conftest import APPS, Launch, Launched
from tests.whole.clients import client, environment, kept_port, meet_all

NOT_FOR_WORKERS = {
    "NOTIFY_SOCKET": "/nowhere/notify",
    "WATCHDOG_USEC": "30000000",
    "WATCHDOG_PID": "1",
    "LISTEN_FDS": "1",
    "LISTEN_PID": "1",
    "LISTEN_FDNAMES": "http",
    "LISTEN_PIDFDID": "1",
}
"""sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3)."""


@contextmanager
def without_address(arguments: list[str], env: Mapping[str, str], cwd: Path) -> Iterator[Launched]:
    """The command where nothing but the environment or a file says where to listen."""
    server = Launched([*arguments, "--app-dir", str(APPS)], {**environment(), **env}, cwd, [])
    try:
        yield server
        assert server.stop() == 0
    finally:
        if server.popen.poll() is None:
            server.popen.kill()
            server.popen.wait()
        assert server.popen.stdout is not None
        server._reader.join()
        server.popen.stdout.close()


# ── what workers see ──────────────────────────────────────────────────────────────────────────────────────


def test_workers_see_their_slot_and_generation_and_nothing_meant_for_the_launcher(launch: Launch) -> None:
    mine = {**NOT_FOR_WORKERS, "TEST_KEPT": "yes", "REUSEPORT_SLOT": "77"}
    server = launch("mirror:app", "--workers", "2", env=mine).ready(2)
    with client() as asking:
        met = meet_all(asking, server.url, 2)
    for slot, seen in met.items():
        variables = seen["environment"]
        assert (variables["REUSEPORT_SLOT"], variables["REUSEPORT_GENERATION"]) == (str(slot), "1")
        assert variables["TEST_KEPT"] == "yes"
        assert not set(NOT_FOR_WORKERS) & set(variables)


def test_interpreter_flags_reach_the_workers(launch: Launch) -> None:
    script = "import os, sys; os.execv(sys.argv[1], [sys.argv[1], '-X', 'dev', '-O', *sys.argv[2:]])"
    server = launch("mirror:app", wrapper=[sys.executable, "-c", script]).ready(1)
    with client() as asking:
        seen = asking.get(server.url).json()
    assert (seen["optimize"], seen["dev_mode"]) == (1, True)
    assert server.stop() == 0
    # Development mode also reports what a process forgets to close.
    assert "Warning" not in server.output


# ── settings ──────────────────────────────────────────────────────────────────────────────────────────────


def test_web_concurrency_is_a_number_of_workers(launch: Launch) -> None:
    server = launch("plain:app", env={"WEB_CONCURRENCY": "2"}).ready(2)
    assert server.workers().keys() == {0, 1}


def test_an_env_file_says_how_many_workers_and_whom_they_trust(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("WEB_CONCURRENCY=2\nFORWARDED_ALLOW_IPS=*\nTEST_KEPT=yes\n")
    server = launch("mirror:app", "--env-file", "env").ready(2)
    with client() as asking:
        seen = asking.get(server.url, headers={"x-forwarded-for": "192.0.2.1"}).json()
    assert (seen["client"][0], seen["environment"]["TEST_KEPT"]) == ("192.0.2.1", "yes")


@pytest.mark.parametrize("name", ["my-app", "2nd", "my app", "café", "class"])
def test_a_module_may_be_called_what_no_import_statement_can_say(
    name: str, launch: Launch, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.py").write_text((APPS / "plain.py").read_text())
    server = launch(f"{name}:app", "--app-dir", str(tmp_path)).ready(1)
    with client() as asking:
        assert asking.get(server.url).status_code == 200


@pytest.mark.parametrize(("flags", "env"), [(["--workers", "auto"], {}), ([], {"WEB_CONCURRENCY": "auto"})])
def test_auto_says_once_how_many_and_why(flags: list[str], env: dict[str, str], launch: Launch) -> None:
    server = launch("plain:app", *flags, env=env)
    workers = int(server.wait_for(r"launcher: --workers auto: (\d+) \(\d+ CPUs? by affinity.*\)$")[1])
    server.ready(workers)
    assert server.workers().keys() == set(range(workers))
    assert server.count("--workers auto") == 1


def test_port_means_all_interfaces(tmp_path: Path) -> None:
    with (
        kept_port() as port,
        without_address(["plain:app", "--join"], {"PORT": str(port)}, tmp_path) as server,
    ):
        server.wait_for(rf"serves plain:app on http://0\.0\.0\.0:{port}$")
        server.ready(1)
        with client() as asking:
            assert asking.get(f"http://127.0.0.1:{port}").status_code == 200


def test_uvicorns_names_are_understood(tmp_path: Path) -> None:
    with kept_port() as port:
        env = {
            "UVICORN_APP": "mirror:app",
            "UVICORN_PORT": str(port),
            "UVICORN_WORKERS": "2",
            "UVICORN_ROOT_PATH": "/below",
            "UVICORN_LIFESPAN": "off",
            "REUSEPORT_JOIN": "yes",
        }
        with without_address([], env, tmp_path) as server:
            server.ready(2)
            with client() as asking:
                seen = asking.get(f"http://127.0.0.1:{port}").json()
    assert (seen["root_path"], seen["lifespans"]) == ("/below", 0)


@pytest.mark.parametrize(
    ("name", "heading"), [("reuseport.toml", ""), ("pyproject.toml", "[tool.reuseport]\n")]
)
def test_a_file_in_the_current_directory_is_read(name: str, heading: str, tmp_path: Path) -> None:
    with kept_port() as port:
        address = f"port = {port}\njoin = true\n"
        text = f'{heading}app = "plain:app"\nworkers = 2\n{address}headers = ["X-From:file"]\n'
        (tmp_path / name).write_text(text)
        with without_address([], {}, tmp_path) as server:
            server.ready(2)
            with client() as asking:
                assert asking.get(f"http://127.0.0.1:{port}").headers["x-from"] == "file"


def test_flags_beat_the_environment_beats_the_file(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "reuseport.toml").write_text(
        'workers = 2\nroot-path = "/file"\nheaders = ["X-From:file"]\nserver-header = false\n'
    )
    env = {"REUSEPORT_ROOT_PATH": "/environment", "UVICORN_HEADERS": "X-From:environment"}
    server = launch("mirror:app", "--root-path", "/flag", env=env).ready(2)
    with client() as asking:
        answer = asking.get(server.url)
    assert answer.json()["root_path"] == "/flag"
    assert answer.headers["x-from"] == "environment"
    assert "server" not in answer.headers


# ── the launcher ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_launcher_imports_neither_the_application_nor_what_runs_it(
    launch: Launch, tmp_path: Path
) -> None:
    imports = tmp_path / "imports"
    server = launch("mirror:app", "--workers", "2", env={"TEST_IMPORTS": str(imports)}).ready(2)
    assert {int(pid) for pid in imports.read_text().split()} == set(server.workers().values())
    launcher = Path(f"/proc/{server.pid}/maps").read_text()
    worker = Path(f"/proc/{server.workers()[0]}/maps").read_text()
    for library in ("httptools", "uvloop"):
        assert library in worker
        assert library not in launcher


# ── a secret ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["flag", "variable", "file"])
def test_the_password_of_a_key_is_not_to_be_read_by_others(how: str, launch: Launch, tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"sesame"),
    )
    (tmp_path / "key").write_bytes(key)
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    (tmp_path / "password").write_text("sesame\n")
    words = {
        "flag": ["--ssl-keyfile-password", "sesame"],
        "variable": [],
        "file": ["--ssl-keyfile-password-file", "password"],
    }[how]
    env = {"REUSEPORT_SSL_KEYFILE_PASSWORD": "sesame"} if how == "variable" else {}
    server = launch("plain:app", "--ssl-certfile", "cert", "--ssl-keyfile", "key", *words, env=env).ready(1)
    with client() as asking:
        assert asking.get(server.url.replace("http:", "https:")).status_code == 200
    (worker,) = server.workers().values()
    for pid, file in ((server.pid, "cmdline"), (worker, "cmdline"), (worker, "environ")):
        told = b"sesame" in Path(f"/proc/{pid}/{file}").read_bytes()
        assert told == (how == "flag" and (pid, file) != (worker, "cmdline")), (pid, file)
    assert server.count("everybody on this machine can read --ssl-keyfile-password") == (how == "flag")
    assert server.stop() == 0
    assert "sesame" not in server.output


def test_settings_that_no_worker_can_be_told_are_refused(launch: Launch, tmp_path: Path) -> None:
    lines = ",\n".join(f'"X-{number}:{"v" * 90}"' for number in range(2500))
    (tmp_path / "reuseport.toml").write_text(f"headers = [{lines}]\n")
    server = launch("plain:app")
    assert server.wait() == 2
    assert "the settings are too long for a worker to be told" in server.output
    (tmp_path / "reuseport.toml").unlink()
    server = launch("plain:app", *("--reload-exclude", "x" * 100) * 1200)
    assert server.wait() == 2
    assert "command line and sys.path are too long for a worker to be told" in server.output
    assert "serves plain:app" not in server.output
