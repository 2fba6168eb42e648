"""What we rely on of uvicorn's is there, by name; and a release that nobody has tested is refused."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reuseport.worker.protocol import RELIED_ON, REPLACED
from reuseport.worker.protocol.connection import TransferableH11, TransferableHttpTools
from reuseport.worker.protocol.fitting import BELOW, FROM, misfit

ROOT = Path(__file__).parents[3]
OURS = "reuseport.worker.protocol."


def named(name: str) -> Any:
    """What `module:name.name` stands for. Raises AttributeError, ImportError."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for step in path.split("."):
        found = getattr(found, step)
    return found


@pytest.mark.parametrize("name", RELIED_ON)
def test_what_we_rely_on_is_there(name: str) -> None:
    assert named(name) is not None


@pytest.mark.parametrize("replaced", REPLACED, ids=lambda replaced: replaced.theirs)
def test_what_we_replace_is_there_and_so_is_ours(replaced: Any) -> None:
    module, _, path = replaced.theirs.partition(":")
    of, _, attribute = path.partition(".")
    theirs = getattr(importlib.import_module(module), of)
    assert not attribute or f"self.{attribute}" in inspect.getsource(theirs)
    assert inspect.isclass(named(OURS + replaced.ours))


def inherited(theirs: type, ours: type) -> Iterator[str]:
    """Methods that ours leaves as they are."""
    for name, method in vars(theirs).items():
        if inspect.isfunction(method) and getattr(ours, name) is method:
            yield name


def wanted(method: Any) -> set[str]:
    """Attributes that a method asks of its object."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


LEFT = {
    "_get_upgrade",
    "_should_upgrade",
    "_should_upgrade_to_ws",
    "_unset_keepalive_if_required",
    "_unsupported_upgrade_warning",
    "eof_received",
    "on_url",
    "shutdown",
    "timeout_keep_alive_handler",
}


def test_methods_of_httptools_that_are_left_as_they_are_find_what_they_want() -> None:
    """Its own constructor makes no attribute here, and a new method would be one that nobody looked at."""
    left = set(inherited(HttpToolsProtocol, TransferableHttpTools))
    assert left - {"_start_asgi_task"} == LEFT
    called = {"handle_websocket_upgrade", "send_400_response"}  # by ours of the same name
    for name in LEFT | called:
        for attribute in wanted(getattr(HttpToolsProtocol, name)):
            assert hasattr(TransferableHttpTools, attribute), f"{name} wants {attribute}"


def test_h11_has_no_method_that_nobody_looked_at() -> None:
    assert set(inherited(H11Protocol, TransferableH11)) == (LEFT - {"on_url"}) | {
        "connection_made",
        "handle_events",
        "pause_writing",
        "resume_writing",
    }


def test_the_bounds_are_those_of_the_package() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    lowest, highest = (".".join(map(str, bound)) for bound in (FROM, BELOW))
    assert f"uvicorn[standard]>={lowest},<{highest}" in dependencies
    assert misfit(uvicorn.__version__) is None


@pytest.mark.parametrize("version", ["0.53.9", "0.55.0", "0.55.0rc1", "1.0", "unknown"])
def test_a_release_beyond_them_is_refused_with_the_fix(version: str) -> None:
    text = misfit(version)
    assert text is not None
    assert version in text
    assert "pip install 'uvicorn>=0.54,<0.55'" in text


def test_a_worker_says_so_and_does_not_begin() -> None:
    program = """
import uvicorn
uvicorn.__version__ = "0.99.0"
from reuseport.settings.table import Settings
from reuseport.worker.application import Application, StartupError
try:
    Application(Settings())
except StartupError as error:
    print(error.failed.blame, error.failed.text)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("operator uvicorn 0.99.0 is installed")
