"""README.md and the manual say what the code does, and what they show can be typed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest
from uvicorn.supervisors.multiprocess import SIGNALS, Multiprocess

from bench import __main__ as bench
from bench.rows.table import ROWS
from reuseport import errors
from reuseport.cli import cli
from reuseport.cli import words as commands
from reuseport.launcher.deciding.events import Blame
from reuseport.launcher.deciding.phases import diagram
from reuseport.launcher.serve import SPARE_SLOTS
from reuseport.manual import topics
from reuseport.settings.precedence import load, variables_of
from reuseport.settings.table import DEFAULTS, FLAGS, spellings
from tests.conftest import PATIENCE, Launch
from tests.papers import MANUAL, PAPERS, ROOT, blocks, read, rows, section
from tests.whole.lines import wait_until

SCRIPT = ROOT / "scripts" / "readme"
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z0-9-]*")
SETTINGS = read("settings")
LONGEST_README = 250
LONGEST_SENTENCE = 110
"""Of what a topic begins with: it stands in a list, in a terminal."""


def flags_in_manual() -> set[str]:
    """Every spelling in the first column of the flags tables."""
    return {
        flag
        for cell in re.findall(r"^\| `(-.*?)` \|", section(SETTINGS, "Flags"), re.MULTILINE)
        for flag in FLAG.findall(cell)
    }


def flags_in_help() -> set[str]:
    """Every spelling in the option column of what the real command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "reuseport", "--help"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "110"},
    )
    # The description begins after two spaces, or in the next line.
    columns = re.findall(r"^  (-.*?)(?:  |$)", done.stdout, re.MULTILINE)
    return {flag for column in columns for flag in FLAG.findall(column)}


def flags_of_commands() -> set[str]:
    """Those of the commands that do not serve."""
    return {
        flag
        for command in commands().values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for flag in parameter.opts
    }


# ── what is copied from the code ──────────────────────────────────────────────────────────────────────


def readme(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], check=False, capture_output=True, text=True, cwd=ROOT
    )


def test_copied_parts_are_what_the_code_says() -> None:
    done = readme("--check")
    assert done.returncode == 0, done.stderr
    assert f"```\n{diagram()}\n```" in section(read("README"), "How it works")


def test_a_stale_part_is_found_and_written_anew(tmp_path: Path) -> None:
    copy = tmp_path / "settings.md"
    copy.write_text(SETTINGS.replace("| `--join`", "| `--enjoy`"))
    assert readme("--check", str(copy)).returncode == 1
    assert readme(str(copy)).returncode == 0
    assert copy.read_text() == SETTINGS


@pytest.mark.parametrize(
    ("marker", "instead", "word"),
    [
        ("<!-- end of flags -->", "", "'flags'"),
        ("<!-- flags: written", "<!-- banners: written", "'banners'"),
    ],
)
def test_a_lost_or_unknown_marker_is_an_error(tmp_path: Path, marker: str, instead: str, word: str) -> None:
    copy = tmp_path / "settings.md"
    copy.write_text(SETTINGS.replace(marker, instead))
    done = readme(str(copy))
    assert done.returncode == 1
    assert word in done.stderr


def test_every_part_stands_somewhere() -> None:
    """Else its marker was lost, and nobody would notice that it is no longer written."""
    marked = {name for paper in PAPERS for name in re.findall(r"<!-- (\w+): written", paper.read_text())}
    assert marked == {"phases", "flags", "metrics", "commands", "manual", "gunicorn", "hypercorn", "granian"}


def test_the_readme_is_short() -> None:
    assert len(read("README").splitlines()) <= LONGEST_README


# ── flags ─────────────────────────────────────────────────────────────────────────────────────────────


def test_readme_help_and_table_know_the_same_flags() -> None:
    table = {flag for name in FLAGS if name != "app" for pair in spellings(name) for flag in pair.split("/")}
    command = {"-c", "--config", "--version", "-h", "--help"}
    assert flags_in_manual() == table | command
    assert flags_in_help() == table | command


def test_no_other_flag_is_spoken_of_as_ours() -> None:
    """In running text and tables; the columns of the programs one moves over from are theirs."""
    theirs = r"^\| .*? \|(?= .* \|$)"
    moving = re.sub(theirs, "", read("moving-over"), flags=re.MULTILINE)
    # The bench's speaks of other programs' flags, and lives beside them.
    text = moving + "".join(read(name) for name in ("README", *topics()) if name != "moving-over")
    code = [span for span in re.findall(r"`([^`\n]+)`", text) if span.startswith("-")]
    spoken = {flag for span in code for flag in FLAG.findall(span)}
    assert "--graceful-timeout" in spoken
    # uvicorn's column stands in the middle: its names are ours, too.
    assert spoken <= flags_in_help() | flags_of_commands()


def test_the_environment_has_every_last_name() -> None:
    cells = [cell for cell, _ in rows(SETTINGS, "environment")]
    named = {variable for cell in cells for variable in re.findall(r"`(\w+)`", cell)}
    last = {variable for flag in FLAGS.values() for variable in flag.variables}
    assert named == last | {"REUSEPORT_CONFIG"}
    for prefix in re.findall(r"`(\w+)<FLAG>`", " ".join(cells)):
        assert f"{prefix}BACKLOG" in variables_of("backlog")


def test_every_key_of_the_file_is_heard(tmp_path: Path) -> None:
    (document,) = blocks(SETTINGS, "toml")
    (tmp_path / "reuseport.toml").write_text(document)
    settings = load({}, {}, tmp_path)
    names = {key.replace("-", "_") for key in tomllib.loads(document)}
    assert names == {name for name in FLAGS if getattr(settings, name) != getattr(DEFAULTS, name)}


# ── signals and exit codes ────────────────────────────────────────────────────────────────────────────


def heard_signals(pid: int) -> set[str]:
    """Signals that wait for a process to read them (SigBlk in proc_pid_status(5): bit n-1 is signal n)."""
    found = re.search(r"^SigBlk:\s+([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    mask = int(found[1], 16)
    return {number.name for number in signal.Signals if mask & 1 << (number - 1)}


def test_the_running_launcher_handles_the_signals_of_the_table(launch: Launch) -> None:
    server = launch("plain:app").ready(1)
    told = {name for cell, _ in rows(read("README"), "signal") for name in re.findall(r"SIG\w+", cell)}
    # The kernel's word about a zombie is no message to the launcher. It holds all signals for a moment: while
    # it forks, or starts a thread that is to have none.
    wait_until(
        lambda: told == heard_signals(server.pid) - {"SIGCHLD"}, lambda: (told, heard_signals(server.pid))
    )


def test_every_signal_that_uvicorns_supervisor_handles_is_ours_too() -> None:
    theirs = {
        number.name for number, name in SIGNALS.items() if hasattr(Multiprocess, f"handle_{name.lower()}")
    }
    assert "SIGTTIN" in theirs
    told = {name for cell, _ in rows(read("README"), "signal") for name in re.findall(r"SIG\w+", cell)}
    assert theirs <= told


def test_the_room_for_scaling_is_told() -> None:
    told = dict(rows(read("README"), "signal"))
    assert f"up to {SPARE_SLOTS} more" in told["`SIGTTIN`"]


def raised(
    kind: type[errors.ReuseportError] = errors.ReuseportError,
) -> Iterator[type[errors.ReuseportError]]:
    for below in kind.__subclasses__():
        yield below
        yield from raised(below)


def test_the_table_has_every_exit_code() -> None:
    told = {int(code) for code, *_ in rows(read("README"), "code")}
    assert told == {0} | {blame.value for blame in Blame} | {kind.exit_code for kind in raised()}


# ── what can be typed ─────────────────────────────────────────────────────────────────────────────────

COMMANDS = [
    words
    for paper in PAPERS
    if paper.stem != "first-server"  # really typed, in tests/deploy/test_first_server.py
    for block in blocks(paper.read_text(encoding="utf-8"), "sh")
    for line in block.splitlines()
    if (words := shlex.split(line, comments=True))
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_can_be_typed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if words[0] in ("opentelemetry-instrument", "ddtrace-run", "newrelic-admin"):
        words = words[words.index("python") :]
    match words:
        case ["python", "-m", "reuseport", *arguments]:
            with cli.make_context("reuseport", arguments) as context:
                assert context.args == []
        case [".venv/bin/python", "-m", module, *_]:
            assert importlib.util.find_spec(module) is not None
        case ["scripts/bench", *arguments]:
            assert os.access(ROOT / "scripts/bench", os.X_OK)
            given = bench.parser().parse_args(arguments)
            assert set(given.only or ()) <= {row.name for row in ROWS}
        case ["scripts/test", "--python", version]:
            assert "--python" in (ROOT / "scripts/test").read_text(encoding="utf-8")
            assert version.replace(".", "").isdigit()
        case [".venv/bin/python", script] | [script] if script.startswith("scripts/"):
            assert os.access(ROOT / script, os.X_OK)
        case ["curl", "-i", "http://127.0.0.1:8000/"] | ["python", "-m", "pip", "install", "."]:
            pass
        case ["(umask", "077;", "openssl", "rand", "-hex", "32", ">", "token)"]:
            pass
        case ["curl", *_, url] if url.startswith("http://127.0.0.1:9000/api/v1/"):
            described = json.loads((ROOT / "reuseport/admin/openapi.json").read_text(encoding="utf-8"))
            assert url.removeprefix("http://127.0.0.1:9000") in described["paths"]
        case _:
            pytest.fail(f"nobody has looked at {words}")


def test_a_misspelt_command_would_be_noticed() -> None:
    with pytest.raises(click.UsageError), cli.make_context("reuseport", ["app:app", "--worker", "4"]):
        pass


def test_the_application_of_the_readme_is_served(launch: Launch, tmp_path: Path) -> None:
    (source,) = blocks(read("README"), "python")
    (tmp_path / "app.py").write_text(source)
    server = launch("app:app", "--workers", "2", "--app-dir", str(tmp_path)).ready(2)
    assert httpx.get(server.url).text == "Hello!\n"
    assert server.stop() == 0


def test_the_stream_of_the_readme_ends_with_a_word_to_the_client(launch: Launch, tmp_path: Path) -> None:
    source, *_ = blocks(read("applications"), "python")
    (tmp_path / "app.py").write_text(source)
    flags = ("--lifespan", "off", "--graceful-timeout", "10m")
    server = launch("app:events", "--app-dir", str(tmp_path), *flags).ready(1)
    with httpx.stream("GET", server.url, timeout=PATIENCE) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "data: tick"
        server.signal(signal.SIGTERM)
        assert list(lines)[-2:] == ["retry: 100", ""]
    assert server.wait() == 0


LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]+))?\)")


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.stem)
def test_the_links_lead_somewhere(paper: Path) -> None:
    for target, anchor in LINK.findall(paper.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        path = (paper.parent / target) if target else paper
        assert path.exists(), f"{paper.name} leads to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


# ── the manual in the terminal ────────────────────────────────────────────────────────────────────────


def manual(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reuseport", "manual", *words], check=False, capture_output=True, text=True
    )


def test_every_topic_is_shown_as_it_is() -> None:
    listed = manual().stdout.strip().splitlines()
    assert [line.split()[0] for line in listed] == list(topics())
    for topic in topics():
        assert manual(topic).stdout.rstrip("\n") == read(topic).rstrip("\n")


def test_a_topic_that_is_not_there_names_the_nearest() -> None:
    done = manual("operatin")
    assert done.returncode == 2
    assert "did you mean 'operating'?" in done.stderr
    assert "there are: " in manual("weather").stderr


def test_every_topic_begins_with_a_title_and_a_sentence() -> None:
    for name, about in topics().items():
        assert read(name).startswith(f"# {name.capitalize().replace('-', ' ')}\n"), name
        assert about.endswith("."), name
        assert len(about) <= LONGEST_SENTENCE, name


# ── the man page ──────────────────────────────────────────────────────────────────────────────────────


def test_the_man_page_has_every_flag_and_no_mistake() -> None:
    """`--check` of scripts/readme has looked whether it is what the code says."""
    page = MANUAL / "reuseport.1"
    done = subprocess.run(
        ["/usr/bin/groff", "-man", "-Tutf8", "-ww", page],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    shown = re.sub(r"\x1b\[[\d;]*m|.\x08", "", done.stdout)
    for flag in flags_in_help():
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", shown), flag
