"""--log-config as it was written for uvicorn, and applications that set logging up themselves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Launch
from tests.whole.clients import kept_port
from tests.whole.lines import wait_until
from tests.whole.traffic import ask

FOR_UVICORN: dict[str, Any] = {
    "version": 1,
    "formatters": {"f": {"format": "F %(levelname)s %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}},
    "loggers": {
        "uvicorn": {"handlers": ["h"], "level": "INFO"},
        "uvicorn.access": {"handlers": ["h"], "level": "INFO", "propagate": False},
    },
}
"""Names uvicorn's loggers, and leaves disable_existing_loggers at its default: true."""

SILENT: dict[str, dict[str, Any]] = {
    "no loggers": {"version": 1},
    "a level": {**FOR_UVICORN, "loggers": {"uvicorn": {"handlers": ["h"], "level": "CRITICAL"}}},
    "a handler's level": {
        **FOR_UVICORN,
        "handlers": {"h": {"class": "logging.StreamHandler", "level": "CRITICAL"}},
    },
    "a null handler": {
        **FOR_UVICORN,
        "handlers": {"h": {"class": "logging.NullHandler"}},
    },
    "our own logger": {**FOR_UVICORN, "loggers": {"reuseport": {"level": 60}}},
}

BROKEN = "raise RuntimeError('not today')\n"


def described(directory: Path, what: dict[str, Any]) -> tuple[str, str]:
    (directory / "log.json").write_text(json.dumps(what), encoding="ascii")
    return ("--log-config", "log.json")


def test_our_lines_go_where_uvicorns_go(launch: Launch, tmp_path: Path) -> None:
    server = launch("plain:app", "--workers", "1", "--lifespan", "off", *described(tmp_path, FOR_UVICORN))
    server.wait_for("^F INFO all 1 workers are ready$")
    os.kill(server.workers()[0], signal.SIGKILL)
    server.wait_for(r"^F ERROR worker in slot 0 \(pid \d+\) was killed by SIGKILL")
    server.wait_for("^F INFO slot 0 is ready")
    assert server.stop() == 0
    assert server.count("^F INFO stopped, exit code 0$") == 1
    assert all(line.startswith("F ") for line in server.lines), server.output


def test_the_level_of_the_flag_counts_more(launch: Launch, tmp_path: Path) -> None:
    arguments = ("--lifespan", "off", "--log-level", "debug", *described(tmp_path, FOR_UVICORN))
    server = launch("plain:app", *arguments)
    server.wait_for("^F DEBUG worker in slot 0 starts")
    server.wait_for("all 1 workers are ready")
    assert server.stop() == 0


def test_a_file_that_names_our_logger_is_taken_at_its_word(launch: Launch, tmp_path: Path) -> None:
    ours = {"reuseport": {"handlers": ["h"], "level": "WARNING"}}
    what = {**FOR_UVICORN, "loggers": {**FOR_UVICORN["loggers"], **ours}}
    server = launch("plain:app", "--lifespan", "off", *described(tmp_path, what))
    server.wait_for("^F INFO Started server process")
    wait_until(lambda: bool(server.workers()), lambda: server.output)
    server.signal(signal.SIGUSR2)
    server.wait_for("^F WARNING SIGUSR2 means nothing here$")
    server.stop()
    assert not server.count("stopped, exit code")


@pytest.mark.parametrize("what", [FOR_UVICORN, *SILENT.values()], ids=["loud", *SILENT])
def test_a_failed_start_is_always_told(launch: Launch, tmp_path: Path, what: dict[str, Any]) -> None:
    (tmp_path / "broken.py").write_text(BROKEN, encoding="ascii")
    server = launch("broken:app", "--workers", "2", "--app-dir", str(tmp_path), *described(tmp_path, what))
    assert server.wait() == 3
    assert server.count("could not start: Traceback") == 1, server.output
    assert server.count("RuntimeError: not today$") == 1
    assert server.count("no worker became ready: giving up") == 1


def test_a_crash_is_always_told(launch: Launch, tmp_path: Path) -> None:
    with kept_port() as port:
        address = ("--port", str(port), "--join", "--lifespan", "off")
        server = launch("plain:app", *address, *described(tmp_path, SILENT["a null handler"]))
        wait_until(lambda: _answers(port), lambda: server.output)
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for(r"ERROR +launcher: worker in slot 0 \(pid \d+\) was killed by SIGKILL")
        assert server.stop() == 0


def _answers(port: int) -> bool:
    try:
        return bool(ask(port))
    except OSError:
        return False


# ── classes of the project ────────────────────────────────────────────────────────────────────────────────

PROJECT = """
import logging, os

with open({seen!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")

class Line(logging.Formatter):
    def format(self, record):
        return "MINE " + super().format(record)

class Stream(logging.StreamHandler):
    pass

class All(logging.Filter):
    pass
"""

LOGS = """
import logging

async def app(scope, receive, send):
    logging.getLogger("shop").warning("from the shop")
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
"""

DICT = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"f": {"()": "MODULE.Line", "format": "%(message)s"}, "g": {"class": "MODULE.Line"}},
    "filters": {"all": {"()": "MODULE.All"}},
    "handlers": {
        "h": {"class": "logging.StreamHandler", "formatter": "f"},
        "i": {"class": "MODULE.Stream", "formatter": "g", "filters": ["all"]},
    },
    "root": {"handlers": ["h"], "level": "INFO"},
    "loggers": {"shop": {"handlers": ["i"], "propagate": False}},
}
INI = """
[loggers]
keys=root,shop
[handlers]
keys=h,i
[formatters]
keys=f
[logger_root]
level=INFO
handlers=h
[logger_shop]
qualname=shop
handlers=i
propagate=0
[handler_h]
class=StreamHandler
formatter=f
args=()
[handler_i]
class=MODULE.Stream
formatter=f
args=()
[formatter_f]
format=%(message)s
class=MODULE.Line
"""


@pytest.mark.parametrize(
    ("name", "text"), [("log.json", json.dumps(DICT)), ("log.ini", INI)], ids=["dict", "ini"]
)
@pytest.mark.parametrize("package", [False, True], ids=["beside it", "in its package"])
def test_classes_of_the_project_are_the_workers_alone(
    launch: Launch, tmp_path: Path, name: str, text: str, package: bool
) -> None:
    """In the application's own package even where the launcher could import it, as one that is installed."""
    seen, source = tmp_path / "seen", tmp_path / "src"
    shop = source / "shop" if package else source
    shop.mkdir(parents=True)
    module, app = ("shop.lines", "shop.web:app") if package else ("shoplines", "web:app")
    (shop / f"{module.rpartition('.')[2]}.py").write_text(PROJECT.format(seen=str(seen)))
    (shop / "web.py").write_text(LOGS)
    (tmp_path / name).write_text(text.replace("MODULE", module))
    env = {"PYTHONPATH": f"{source}:{os.environ.get('PYTHONPATH', '')}"} if package else {}
    server = launch(
        app, "--workers", "1", "--lifespan", "off", "--app-dir", str(source), "--log-config", name, env=env
    )
    server.wait_for(
        rf"WARNING +launcher: --log-config: for workers to import: .*{module}\.Line.*; the launcher's"
    )
    server.wait_for("^MINE Started server process")
    worker = server.wait_for(r"INFO +launcher: all 1 workers are ready") and server.workers()[0]
    ask(server.port)
    server.wait_for("^MINE from the shop$")
    assert server.stop() == 0
    assert server.count("for workers to import: ") == 1
    assert set(seen.read_text().split()) == {str(worker)}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('of the formatter')", "of the formatter"),
        ("class Other: pass", "Line"),
        (None, "No module named 'shoplines'"),
    ],
)
@pytest.mark.parametrize("command", [(), ("check",)], ids=["serve", "check"])
def test_a_class_that_workers_cannot_have_either(
    launch: Launch, tmp_path: Path, source: str | None, why: str, command: tuple[str, ...]
) -> None:
    if source is not None:
        (tmp_path / "shoplines.py").write_text(source)
    (tmp_path / "web.py").write_text("async def app(scope, receive, send): ...")
    text = json.dumps(DICT).replace("MODULE", "shoplines")
    (tmp_path / "log.json").write_text(text)
    server = launch(*command, "web:app", "--app-dir", str(tmp_path), "--log-config", "log.json")
    assert server.wait() == 2
    assert server.count(f"logging cannot be set up from .*log.json: .*{why}") == 1, server.output
    assert not server.count("Traceback")


# ── applications that set logging up themselves ───────────────────────────────────────────────────────────

EVERY_WAY = ["factory", "describe", "take over", "level", "disable"]


@pytest.mark.parametrize("way", EVERY_WAY)
def test_why_it_does_not_start_is_told_whatever_it_set_up(launch: Launch, way: str) -> None:
    env = {"TEST_LOGGING": way, "TEST_FAIL": "1"}
    server = launch("opinionated:app", "--lifespan", "on", env=env)
    assert server.wait() == 3
    assert server.count("RuntimeError: not today") == 1, server.output
    assert not server.count("Logging error")


@pytest.mark.parametrize("way", ["describe", "disable"])
def test_what_uvicorn_alone_says_of_it_is_told(launch: Launch, way: str) -> None:
    env = {"TEST_LOGGING": way, "TEST_AT_IMPORT": "1"}
    server = launch("opinionated:factory", "--factory", env=env)
    assert server.wait() == 3
    assert server.count("could not start: Error loading ASGI app factory: factory.. missing 1") == 1, (
        server.output
    )


LINES = {
    "factory": (
        "ERROR +slot 0: of uvicorn$",
        "WARNING +slot 0: of the shop$",
        r'INFO +slot 0: .*"GET / HTTP/1.1" 200 OK$',
    ),
    "take over": ("^APP of uvicorn$", "^APP of the shop$", '^APP .*"GET / HTTP/1.1" 200$'),
    "level": ("", "WARNING +slot 0: of the shop$", r'INFO +slot 0: .*"GET / HTTP/1.1" 200 OK$'),
}


@pytest.mark.parametrize("way", LINES)
def test_no_line_is_lost(launch: Launch, way: str) -> None:
    server = launch("opinionated:app", env={"TEST_LOGGING": way}).ready(1)
    ask(server.port)
    assert server.stop() == 0
    for pattern in filter(None, LINES[way]):
        assert server.count(pattern) == 1, server.output
    assert not server.count("Logging error|KeyError")


@pytest.mark.parametrize("log_format", ["json", "own"])
def test_fields_of_ours_are_there_whoever_makes_records(
    launch: Launch, tmp_path: Path, log_format: str
) -> None:
    own = {
        **FOR_UVICORN,
        "formatters": {"f": {"format": "OWN %(slot)s %(generation)s %(place)s %(message)s"}},
    }
    arguments = ("--log-format", "json") if log_format == "json" else described(tmp_path, own)
    with kept_port() as port:
        address = ("--port", str(port), "--join")
        server = launch("opinionated:app", *arguments, *address, env={"TEST_LOGGING": "factory"})
        wait_until(lambda: _answers_at_all(port), lambda: server.output)
        assert server.stop() == 0
    assert not server.count("Logging error|KeyError"), server.output
    if log_format == "own":
        assert server.count("^OWN 0 1 slot 0 of uvicorn$"), server.output
    else:
        (said, *_) = (record for record in map(json.loads, server.lines) if record["message"] == "of uvicorn")
        assert (said["slot"], said["generation"], said["place"]) == ("0", "1", "slot 0")


def _answers_at_all(port: int) -> bool:
    try:
        ask(port)
    except OSError:
        return False
    return True
