"""What an application finds itself in, and what of it the launcher must not import from."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import reuseport
from tests.conftest import APPS, PATIENCE, Launch, Launched
from tests.whole.clients import client, environment, listening
from tests.whole.lines import wait_until
from tests.whole.reachable import reachable

ROOT = Path(reuseport.__file__).parents[1]
PACKAGES = site.getsitepackages()[0]
SHADOW = "raise SystemExit(f'the worker has imported {__name__} from the project')\n"
PLANTED = "import os\nopen(os.environ['PLANTED'], 'a').write(f'{os.getpid()} {__name__}\\n')\n"
"""A module that tells who has imported it, and then is not what was wanted."""


def command(script: str) -> list[str]:
    """A wrapper that starts the launcher by another command than `python -m reuseport`."""
    return ["sh", "-c", f'shift 3; exec {script} "$@"', "sh"]


def seen(server: Launched, path: str = "/") -> Any:
    with client() as asking:
        return asking.get(f"{server.url}{path}").json()


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A directory that others can enter: pytest's own are ours alone."""
    with tempfile.TemporaryDirectory(prefix="reuseport-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def uvicorn(*arguments: str, cwd: Path) -> Iterator[str]:
    """The address of `python -m uvicorn` with two workers."""
    command = [sys.executable, "-m", "uvicorn", *arguments, "--workers", "2", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment()) as popen:
        assert popen.stderr is not None
        try:
            for line in popen.stderr:
                if "running on" in line:
                    port = int(line.split("http://127.0.0.1:")[1].split()[0])
                    # Bound it is, but they listen only when they have started.
                    wait_until(partial(listening, port))
                    yield f"http://127.0.0.1:{port}"
                    return
        finally:
            popen.terminate()
            popen.stderr.read()


# ── as under uvicorn ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("app_dir", [[], ["--app-dir", "elsewhere"], ["--app-dir", "."]], ids=" ".join)
def test_the_application_finds_what_it_finds_under_uvicorn(
    app_dir: list[str], launch: Launch, tmp_path: Path
) -> None:
    place = tmp_path / "elsewhere" if "elsewhere" in app_dir else tmp_path
    place.mkdir(exist_ok=True)
    shutil.copy(APPS / "surrounded.py", place)
    given = ["surrounded:app", *app_dir, "--workers", "2"]
    server = Launched([*given, "--port", "0"], environment(), tmp_path, [])
    try:
        server.ready(2)
        ours = seen(server)
        assert server.stop() == 0
    finally:
        server.popen.kill()
        server.popen.communicate()
    with uvicorn("surrounded:app", *app_dir, cwd=tmp_path) as url, client() as asking:
        theirs = asking.get(url).json()
    assert ours["argv"] == [reuseport.__file__.replace("__init__", "__main__"), *given, "--port", "0"]
    assert theirs["argv"][1:] == ["surrounded:app", *app_dir, "--workers", "2", "--port", "0"]
    assert set(ours["variables"]) - set(theirs["variables"]) == {"REUSEPORT_GENERATION", "REUSEPORT_SLOT"}
    assert set(theirs["variables"]) <= set(ours["variables"])
    # What `python -m uvicorn` with one process shows; to those of several, -c is all there is.
    assert ours["main"] == "reuseport.__main__"
    assert ours["process"].startswith("SpawnProcess-")
    assert ours["main_names"] == []
    for same in ("path", "parent", "directory", "flags", "options", "platform", "logging"):
        assert ours[same] == theirs[same], same


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("script", [None, "bin"])
def test_processes_of_the_application(
    method: str, script: str | None, launch: Launch, tmp_path: Path
) -> None:
    wrapper = command(f"{Path(sys.executable).with_name('reuseport')}") if script else None
    server = launch("surrounded:app", wrapper=wrapper).ready(1)
    doubled, argv, main = seen(server, f"/{method}")
    assert (doubled, main) == (42, "__main__")
    assert argv[0] == "surrounded:app"
    assert server.stop() == 0


def test_a_project_may_have_modules_called_like_any_of_ours(launch: Launch, tmp_path: Path) -> None:
    """Like every module that a worker ever has imported, from its first instruction to its last."""
    (tmp_path / "plain.py").write_text(
        f"{(APPS / 'plain.py').read_text()}\n"
        "import atexit, os, sys\n"
        "atexit.register(lambda: open(os.environ['NAMES'], 'w').write('\\n'.join(sys.modules)))\n"
    )
    names = tmp_path / "names"
    script = command(str(Path(sys.executable).with_name("reuseport")))
    for round_ in ("what is imported", "what must not be"):
        server = launch("plain:app", "--app-dir", "", env={"NAMES": str(names)}, wrapper=script).ready(1)
        with client() as asking:
            assert asking.get(server.url).status_code == 200
        assert server.stop() == 0, round_
        assert "Traceback" not in server.output
        for name in {line.partition(".")[0] for line in names.read_text().splitlines()}:
            if name not in ("plain", "__main__"):
                (tmp_path / f"{name}.py").write_text(SHADOW)


# ── what the launcher imports ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["-m", "console script", "PYTHONPATH"])
def test_the_launcher_and_its_commands_import_nothing_of_the_projects(
    how: str, launch: Launch, tmp_path: Path
) -> None:
    project, notes = tmp_path / "project", tmp_path / "notes"
    project.mkdir()
    env = {"PLANTED": str(notes), **({"PYTHONPATH": str(project)} if how == "PYTHONPATH" else {})}
    program = [str(Path(sys.executable).with_name("reuseport"))]
    wrapper = command(program[0]) if how == "console script" else None
    if how != "console script":
        program = [sys.executable, "-m", "reuseport"]
    control = str(tmp_path / "control.sock")
    server = launch(
        "plain:app", "--control", control, "--admin", "127.0.0.1:0", cwd=project, env=env, wrapper=wrapper
    ).ready(1)
    # Not before: Python's own first imports are nobody's but the operator's.
    for name in ("starlette", "uvicorn", "prometheus_client", "anyio", "psutil", "rich", "h11", "email"):
        (project / f"{name}.py").write_text(PLANTED)
    for words in (["status"], ["status", "--json"], ["top", "--count", "1"], ["scale", "2", "--wait"]):
        done = subprocess.run(
            [*program, *words, "--control", control],
            cwd=project,
            env={**environment(), **env},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    workers = set(map(str, server.workers().values()))
    assert server.stop() == 0
    told = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    assert {pid for pid, _ in told} <= workers, told


def test_what_lies_in_the_current_directory_is_not_imported_while_a_command_starts(tmp_path: Path) -> None:
    """But for what `python -m` itself imports from there, before it comes to us."""
    tell = "import sys; print(*sys.modules)"
    bare, full = (
        {
            name.partition(".")[0]
            for name in subprocess.check_output([sys.executable, "-P", "-c", code]).decode().split()
        }
        for code in (f"import runpy; {tell}", f"import reuseport.cli, reuseport.launcher.serve; {tell}")
    )
    for name in full - bare - {"reuseport"}:
        (tmp_path / f"{name}.py").write_text(SHADOW)
    done = subprocess.run(
        [sys.executable, "-m", "reuseport", "check", "reuseport.demo:app"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert "from the project" not in done.stderr
    assert done.stdout == "reuseport.demo:app imports, the configuration is valid\n", done.stderr


# ── where the packages lie ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "flags", ["", "-I", "-P", "-S -E", "-X importtime -X pycache_prefix=/nowhere", "-I -S"]
)
def test_a_script_that_knows_where_the_packages_are(flags: str, launch: Launch, tmp_path: Path) -> None:
    """pex, shiv, activate_this and others: nobody but the launcher's own script knows it."""
    script = tmp_path / "bundle.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {PACKAGES!r})\nsys.path.insert(0, {str(ROOT)!r})\n"
        "if __name__ == '__main__':\n    from reuseport.__main__ import main\n    main()\n"
    )
    base = Path(sys.executable).resolve()
    server = launch("surrounded:app", "--workers", "2", wrapper=command(f"{base} {flags} {script}")).ready(2)
    found = seen(server)
    isolated, no_site, safe_path, no_environment = found["flags"]
    assert (bool(isolated), bool(no_site)) == ("-I" in flags, "-S" in flags)
    assert bool(safe_path) == ("-P" in flags or "-I" in flags)
    assert bool(no_environment) == ("-E" in flags or "-I" in flags)
    assert found["options"].get("pycache_prefix") == ("/nowhere" if "pycache" in flags else None)
    assert server.stop() == 0


def test_one_executable(launch: Launch, tmp_path: Path) -> None:
    """PyInstaller: sys.executable is no interpreter but this program, to be executed again."""
    program, script = tmp_path / "shop", tmp_path / "frozen.py"
    base = Path(sys.executable).resolve()
    program.write_text(f'#!/bin/sh\nexec {base} -IS {script} "$@"\n')
    program.chmod(0o755)
    script.write_text(
        f"import sys\nsys.frozen, sys.executable = True, {str(program)!r}\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {PACKAGES!r}]\n"
        "from reuseport.__main__ import main\nmain()\n"
    )
    server = launch("surrounded:app", "--workers", "2", wrapper=command(str(program))).ready(2)
    found = seen(server)
    assert found["argv"][1] == "surrounded:app"
    assert "REUSEPORT_SURROUNDINGS" not in found["variables"]
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves")
    assert server.stop() == 0


@pytest.mark.parametrize("user", [(), ("--user", "nobody")], ids=["ourselves", "nobody"])
def test_an_archive(user: tuple[str, ...], launch: Launch, shared_path: Path) -> None:
    """zipapp: we are in it, and so may be the application."""
    wrapper = reachable() if user else []
    archive = shared_path / "shop.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        for file in Path(reuseport.__file__).parent.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                packed.write(file, file.relative_to(ROOT))
        packed.write(APPS / "plain.py", "shop.py")
        packed.writestr("__main__.py", "from reuseport.__main__ import main\nmain()\n")
    # Nothing else may lead to us.
    env = {"PYTHONPATH": PACKAGES}
    program = [*wrapper, *command(f"{Path(sys.executable).resolve()} -s shop.pyz")]
    server = launch(
        *("shop:app", "--admin", "127.0.0.1:0", *user), env=env, cwd=shared_path, wrapper=program
    ).ready(1)
    assert seen(server)["slot"] == "0"
    admin = server.wait_for_first(r"admin.* (http://127\.0\.0\.1:\d+)")[1]
    with client() as asking:
        assert asking.get(f"{admin}/").status_code == 200
        assert asking.get(f"{admin}/api/v1/openapi.json").json()["openapi"]
    assert server.stop() == 0


@pytest.mark.parametrize("places", [1, 3])
def test_packages_that_only_pythonpath_leads_to(places: int, launch: Launch, tmp_path: Path) -> None:
    """All in one (`pip install --target`), or each in one of its own (Bazel)."""
    project, notes = tmp_path / "project", tmp_path / "notes"
    split = [tmp_path / f"packages-{number}" for number in range(places)]
    for directory in (project, *split):
        directory.mkdir()
    for number, entry in enumerate(sorted(Path(PACKAGES).iterdir())):
        (split[number % places] / entry.name).symlink_to(entry)
    base = Path(sys.executable).resolve()
    env = {"PYTHONPATH": os.pathsep.join(map(str, (project, ROOT, *split))), "PLANTED": str(notes)}
    program = command(f"{base} -s -m reuseport")
    server = launch("plain:app", "--admin", "127.0.0.1:0", env=env, wrapper=program).ready(1)
    assert seen(server)["slot"] == "0"
    (project / "starlette.py").write_text(PLANTED)
    admin = server.wait_for_first(r"admin.* (http://127\.0\.0\.1:\d+)")[1]
    with client() as asking:
        assert asking.get(f"{admin}/metrics").status_code == 200
    assert server.stop() == 0
    assert not notes.exists()


# ── who is there before us ────────────────────────────────────────────────────────────────────────────────

INSTRUMENTED = """
import json, sys, threading


async def app(scope, receive, send):
    if scope["type"] == "http":
        names = sorted(thread.name for thread in threading.enumerate())
        body = json.dumps({"path": sys.path, "argv": sys.argv, "threads": names}).encode()
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})
"""
EXPORTER = """
import threading
threading.Thread(target=threading.Event().wait, name="exporter", daemon=True).start()
"""


def test_threads_of_an_instrumentation_do_not_get_the_launchers_signals(
    launch: Launch, tmp_path: Path
) -> None:
    """As of opentelemetry-instrument: a sitecustomize in PYTHONPATH, which is for the workers."""
    place = tmp_path / "instrumentation"
    place.mkdir()
    (place / "sitecustomize.py").write_text(EXPORTER, encoding="utf-8")
    (tmp_path / "app.py").write_text(INSTRUMENTED, encoding="utf-8")
    # From the current directory, which `launch` would put elsewhere.
    flags = ("--workers", "2", "--app-dir", "")
    server = launch("app:app", *flags, env={"PYTHONPATH": str(place)}, cwd=tmp_path).ready(2)
    # A fork of a mold would not have them.
    assert server.molds() == []
    found = seen(server)
    assert "exporter" in found["threads"]
    assert str(place) in found["path"]
    assert f"PYTHONPATH={place}" not in Path(f"/proc/{server.pid}/environ").read_text().split("\0")
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    assert "exporter" in seen(server)["threads"]
    assert server.stop() == 0
