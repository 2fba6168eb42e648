"""What most applications import is there before the fork; but only what they would get by themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Launch
from tests.whole.clients import client

OURS = """
import reuseport.worker.__main__, reuseport.worker.readied
from reuseport.settings.table import Settings
from reuseport.worker.stage import import_ours
import_ours(Settings())
import json, sys
from reuseport.mold.foreseen import import_foreseen
before = set(sys.modules)
done = import_foreseen(json.loads(sys.argv[1]), *sys.argv[2:])
print(json.dumps([done, sorted(set(sys.modules) - before)]))
"""
APP = """
import html, json, sys
BEFORE = "starlette.routing" in sys.modules
import starlette
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200})
    said = json.dumps([BEFORE, starlette.__file__, html.__file__]).encode()
    await send({"type": "http.response.body", "body": said})
"""

THREADED = """
import sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def known(request):
    return JSONResponse("anyio._backends._asyncio" in sys.modules)
app = Starlette(routes=[Route("/", known)])
"""


def foreseen(path: list[str], *name: str) -> tuple[bool, list[str]]:
    """By a mold whose application has this path: whether it was imported, and which modules are new."""
    command = [sys.executable, "-c", OURS, json.dumps(path), *name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported, new = json.loads(done.stdout)
    return imported, new


def test_it_is_imported_where_the_application_would_find_the_same() -> None:
    imported, new = foreseen(sys.path)
    assert imported
    assert {"starlette.applications", "starlette.responses", "starlette.routing"} <= set(new)


@pytest.mark.parametrize("own", ["starlette", "html"])
def test_nothing_of_it_is_left_where_a_project_has_its_own(own: str, tmp_path: Path) -> None:
    (tmp_path / f"{own}.py").write_text("raise SystemExit('the mold has imported what is not ours')")
    assert foreseen([str(tmp_path), *sys.path]) == (False, [])


def test_nothing_of_it_is_left_where_it_is_not_to_be_had() -> None:
    assert foreseen(sys.path, "starlette.nothing") == (False, [])


@pytest.mark.parametrize("own", [False, True], ids=["ours", "its own"])
def test_a_worker_finds_it_imported_unless_the_project_has_its_own(
    own: bool, launch: Launch, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    if own:
        for name in ("starlette", "html"):
            (tmp_path / f"{name}.py").touch()
    server = launch("shop:app", "--app-dir", str(tmp_path), "--mold", "--lifespan", "off").ready(1)
    with client() as asking:
        before, *files = asking.get(server.url).json()
    assert before is not own
    assert [Path(file).parent == tmp_path for file in files] == [own, own]
    assert server.stop() == 0


@pytest.mark.parametrize(("imports", "there"), [("starlette.concurrency", True), ("json", False)])
def test_what_its_handlers_will_import_is_there_with_the_application(imports: str, there: bool) -> None:
    script = (
        f"import sys, {imports}\n"
        "from reuseport.mold.foreseen import import_later\n"
        "import_later()\n"
        "print('anyio._backends._asyncio' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{there}\n"


def test_a_worker_of_a_preloaded_application_finds_it(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(THREADED)
    server = launch("shop:app", "--app-dir", str(tmp_path), "--preload").ready(1)
    with client() as asking:
        assert asking.get(server.url).json() is True
    assert server.stop() == 0
