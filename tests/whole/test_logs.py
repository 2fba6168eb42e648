"""What is logged, by whom, where to, and that every line says its place."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, Launch
from tests.whole.clients import kept_port
from tests.whole.traffic import ask, wait_for_lines

LINE = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) +(launcher|slot [01]): (.*)$"
)
QUIET = ("--lifespan", "off")  # the lifespan of `plain` writes to stderr without logging
FIELDS = {"timestamp", "message", "level", "logger", "slot", "generation", "pid"}


def test_every_line_of_text_says_its_place(launch: Launch) -> None:
    server = launch("talkative:app", "--workers", "2", *QUIET).ready(2)
    ask(server.port)
    server.wait_for('slot .: .* "GET / HTTP/1.1" 200')
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    wait_for_lines(server, "exited cleanly", 2)
    assert server.stop() == 0
    found = [LINE.match(line) for line in server.lines]
    assert all(found), server.output
    said = {(match[2].split()[0], match[3]) for match in found if match}
    assert ("slot", "from the root logger") in said
    assert ("slot", "from the shop") in said
    assert ("launcher", "stopped, exit code 0") in said


def test_every_line_of_json_says_who_and_when(launch: Launch) -> None:
    server = launch("talkative:app", "--workers", "2", "--log-format", "json", *QUIET)
    port = int(server.wait_for(r'serves .* on http://127\.0\.0\.1:(\d+)"')[1])
    server.wait_for("all 2 workers are ready")
    workers = server.workers()
    ask(port, "/some?q=1")
    server.wait_for("GET /some")
    server.signal(signal.SIGHUP)
    server.wait_for("generation 2 serves in every slot")
    assert server.stop() == 0
    records = [json.loads(line) for line in server.lines]
    for record in records:
        assert record.keys() >= FIELDS
        by_launcher = record["pid"] == server.pid
        assert (record["slot"], record["generation"]) == ("-", "-") or not by_launcher
        assert by_launcher or (record["slot"] in {"0", "1"} and record["generation"] in {"1", "2"})
        assert (record["logger"] == "reuseport") == by_launcher
    (access,) = [record for record in records if record["logger"] == "uvicorn.access"]
    assert (access["method"], access["path"], access["status"]) == ("GET", "/some?q=1", 200)
    assert access["client"].startswith("127.0.0.1:")
    assert access["pid"] == workers[int(access["slot"])]
    assert access["level"] == "INFO"
    (shop,) = [record for record in records if record["logger"] == "shop"]
    assert (shop["message"], shop["level"], shop["slot"]) == ("from the shop", "WARNING", access["slot"])


def test_a_traceback_is_one_record(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n", encoding="ascii")
    arguments = ("--workers", "2", "--log-format", "json", "--app-dir", str(tmp_path))
    server = launch("broken:app", *arguments)
    assert server.wait() == 3
    records = [json.loads(line) for line in server.lines]
    (told,) = [record for record in records if "Traceback" in record["message"]]
    assert told["message"].endswith("RuntimeError: not today")
    assert (told["slot"], told["level"]) == ("-", "ERROR")


FORGED = "2026-01-31 12:00:00,000 INFO     launcher: stopped, exit code 0"


@pytest.mark.parametrize("config", [None, "OWN %(message)s"], ids=["ours", "the operator's"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x85"], ids=ascii)
def test_a_worker_cannot_forge_a_line(launch: Launch, tmp_path: Path, config: str | None, end: str) -> None:
    forged = FORGED if config is None else "OWN stopped, exit code 0"
    text = f"not today{end}{forged}{end}\x1b[2J\tgone"
    (tmp_path / "broken.py").write_text(f"raise RuntimeError({text!r})\n", encoding="utf-8")
    arguments = ["--workers", "1", "--app-dir", str(tmp_path)]
    if config is not None:
        own = {**_DICT, "formatters": {"own": {"format": config}}}
        (tmp_path / "log.json").write_text(json.dumps(own), encoding="ascii")
        arguments += ["--log-config", "log.json"]
    server = launch("broken:app", *arguments)
    assert server.wait() == 3
    assert "RuntimeError: not today" in server.output
    assert r"\x1b[2J" in server.output
    assert forged in server.output
    lines = re.split("[\r\x85\u2028\n]", server.output)
    assert not any(line.startswith(forged) for line in lines), server.output
    start = r"\d{4}-" if config is None else "OWN "
    assert all(re.match(rf"{start}|    ", line) for line in lines), server.output


def test_files_are_opened_again_on_sigusr1(launch: Launch, tmp_path: Path) -> None:
    log, access = tmp_path / "log", tmp_path / "access"
    files = ["--log-file", str(log), "--access-log-file", str(access)]
    with kept_port() as port:
        server = launch("plain:app", "--workers", "2", "--port", str(port), "--join", *files, *QUIET)
        await_text(log, "all 2 workers are ready")
        both_answer(port, access)
        log.rename(tmp_path / "log.1")
        access.rename(tmp_path / "access.1")
        server.signal(signal.SIGUSR1)
        await_text(log, "launcher: log files opened again")
        both_answer(port, access)
        rotated = (tmp_path / "access.1").read_bytes(), (tmp_path / "log.1").read_bytes()
        both_answer(port, access, after=access.stat().st_size)
        assert server.stop() == 0
    assert rotated == ((tmp_path / "access.1").read_bytes(), (tmp_path / "log.1").read_bytes())
    text = log.read_text(encoding="utf-8")
    assert "slot 0: Shutting down" in text
    assert "slot 1: Shutting down" in text
    assert "launcher: stopped" in text
    assert "GET" not in text
    assert server.lines == []


def both_answer(port: int, access: Path, after: int = 0) -> None:
    """Ask until both slots have written an access line beyond a position of the file."""
    deadline = time.monotonic() + PATIENCE
    while True:
        ask(port)
        text = access.read_bytes()[after:].decode() if access.exists() else ""
        if "slot 0: 127" in text and "slot 1: 127" in text:
            return
        assert time.monotonic() < deadline, text


def await_text(path: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or text not in path.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, f"{path} has no {text!r}"
        time.sleep(0.01)


OWN = "OWN %(slot)s %(generation)s %(place)s %(name)s %(message)s"
_DICT = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"own": {"format": OWN}},
    "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}},
    "loggers": {
        name: {"handlers": ["own"], "level": "INFO", "propagate": False} for name in ("reuseport", "uvicorn")
    },
}
_YAML = f"""
version: 1
disable_existing_loggers: false
formatters: {{own: {{format: "{OWN}"}}}}
handlers: {{own: {{class: logging.StreamHandler, formatter: own}}}}
loggers:
  reuseport: {{handlers: [own], level: INFO, propagate: false}}
  uvicorn: {{handlers: [own], level: INFO, propagate: false}}
"""
_INI = f"""
[loggers]
keys=root,reuseport,uvicorn
[handlers]
keys=own
[formatters]
keys=own
[logger_root]
handlers=
[logger_reuseport]
qualname=reuseport
level=INFO
handlers=own
propagate=0
[logger_uvicorn]
qualname=uvicorn
level=INFO
handlers=own
propagate=0
[handler_own]
class=StreamHandler
formatter=own
args=()
[formatter_own]
format={OWN}
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("log.json", json.dumps(_DICT)), ("log.yaml", _YAML), ("log.ini", _INI)],
    ids=["json", "yaml", "ini"],
)
def test_a_configuration_of_the_operators_own(launch: Launch, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    server = launch("plain:app", "--workers", "1", "--log-config", name, *QUIET)
    server.wait_for("^OWN - - launcher reuseport all 1 workers are ready$")
    ask(server.port)
    server.wait_for(r'^OWN 0 1 slot 0 uvicorn\.access 127\.0\.0\.1:\d+ - "GET / HTTP/1\.1" 200$')
    assert server.stop() == 0
    assert server.count(r"^OWN 0 1 slot 0 uvicorn\.error Started server process")
    assert all(line.startswith("OWN ") for line in server.lines)


def test_no_access_log(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--no-access-log").ready(1)
    ask(server.port)
    assert server.stop() == 0
    assert server.count("GET") == 0


def test_only_warnings(launch: Launch) -> None:
    with kept_port() as port:
        server = launch(
            "talkative:app", "--workers", "1", "--port", str(port), "--join", "--log-level", "warning", *QUIET
        )
        deadline = time.monotonic() + PATIENCE
        while server.count("from the shop") == 0:
            assert server.popen.poll() is None, server.output
            assert time.monotonic() < deadline, server.output
            try:
                ask(port)
            except ConnectionRefusedError:
                time.sleep(0.01)  # not ready yet, and at this level nobody says so
        server.signal(signal.SIGUSR2)
        server.wait_for("WARNING  launcher: SIGUSR2 means nothing here")
        assert server.stop() == 0
    assert all("WARNING" in line for line in server.lines), server.output


def test_everything_down_to_the_trace(launch: Launch) -> None:
    server = launch("plain:app", "--workers", "1", "--log-level", "trace").ready(1)
    ask(server.port)
    server.wait_for(r"TRACE +slot 0: .*HTTP connection made")
    server.wait_for(r"TRACE +slot 0: .*ASGI")
    assert server.stop() == 0


def test_an_application_may_set_up_logging_itself(launch: Launch) -> None:
    server = launch("talkative:app", "--workers", "1", *QUIET).ready(1)
    ask(server.port, "/basic")
    server.wait_for("^BASIC INFO after basicConfig$")
    ask(server.port, "/module")
    server.wait_for("^BASIC WARNING by the module's function$")
    assert server.stop() == 0
    # uvicorn's lines do not come twice, by its handler and by the application's.
    assert server.count("GET /basic") == 1
    assert server.count("^BASIC") == 2


def test_an_application_may_log_by_the_modules_functions(launch: Launch) -> None:
    server = launch("talkative:app", "--workers", "1", *QUIET).ready(1)
    ask(server.port, "/module")
    server.wait_for("by the module's function$")
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGKILL, "was killed by SIGKILL"),
        (signal.SIGSEGV, "crashed with SIGSEGV: an invalid memory access"),
    ],
)
def test_an_exit_is_explained_in_words(launch: Launch, number: signal.Signals, words: str) -> None:
    server = launch("plain:app", "--workers", "1").ready(1)
    pid = server.workers()[0]
    os.kill(pid, number)
    server.wait_for(rf"ERROR +launcher: worker in slot 0 \(pid {pid}\) {words}")
    server.wait_for("slot 0 is ready .* reason: crash")
    assert server.stop() == 0
