"""The command line as an operator meets it: what it says, and the status it ends with."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from reuseport import __version__
from reuseport.cli import cli, settings_of
from reuseport.settings.foreign import FOREIGN
from reuseport.settings.precedence import variables_of
from reuseport.settings.table import DEFAULTS, FLAGS, Settings, spellings


@pytest.fixture(autouse=True)
def nothing_else_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and none of the variables that settings are read from."""
    monkeypatch.chdir(tmp_path)
    for variable in ("REUSEPORT_CONFIG", *(v for setting in FLAGS for v in variables_of(setting))):
        monkeypatch.delenv(variable, raising=False)


def command(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(cli, list(arguments), prog_name="reuseport")


def python(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Another interpreter, run from the top of the source tree unless told otherwise."""
    here = directory or Path(__file__).parents[1]
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=here, check=False)


def parsed(*arguments: str) -> Settings:
    with cli.make_context("reuseport", list(arguments)) as context:
        return settings_of(context)


def test_gunicorns_short_forms_and_ours_reach_the_settings(tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text("backlog = 7")
    arguments = f"shop.web -w auto -b :80 -b [::]:81 -t 5m -p run.pid -c {tmp_path}/some.toml --no-access-log"
    settings = parsed(
        *arguments.split(), "--header", "A:b c", "--ws-per-message-deflate", "false", "--factory"
    )
    assert settings == Settings(
        app="shop.web:app",
        workers="auto",
        bind=(":80", "[::]:81"),
        worker_timeout=300.0,
        pid_file="run.pid",
        backlog=7,
        access_log=False,
        headers=("A:b c",),
        ws_per_message_deflate=False,
        factory=True,
    )


def test_check_takes_the_same_flags() -> None:
    with cli.make_context("reuseport", ["check", "main:app", "-w", "3"]) as context:
        assert context.command.name == "check"
        assert settings_of(context) == Settings(app="main:app", workers=3)


@pytest.mark.parametrize("word", [[], ["check"]])
def test_help_shows_every_flag_with_its_default_and_the_rule_of_sources(word: list[str]) -> None:
    result = command(*word, "--help", COLUMNS="110")
    assert result.exit_code == 0
    for name in set(FLAGS) - {"app"}:
        for spelling in spellings(name):
            assert spelling.replace("/", " / ") in result.output
    for text in (
        "[default: 30s]",
        "[default: 127.0.0.1]",
        "DURATION",
        "UVICORN_<FLAG>",
        "PORT",
        "reuseport.toml",
    ):
        assert text in result.output
    assert result.output.index("Workers:") < result.output.index("uvicorn: address:")


def test_version_names_both() -> None:
    result = command("--version")
    assert result.output.startswith(f"reuseport {__version__} (uvicorn 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("main:app -k uvicorn.workers.UvicornWorker", "-k is gunicorn's and hypercorn's: leave it out"),
        ("-w 4 --timeout 120 main:app", "--timeout is gunicorn's: write -t or --worker-timeout"),
        (
            "main:app --max-requests=100",
            "--max-requests is gunicorn's and hypercorn's: write --limit-max-req",
        ),
        ("main:app --workers-max-rss 512", "--workers-max-rss is granian's: write --worker-max-rss"),
    ],
)
def test_who_types_another_servers_flag_is_told_what_to_write(arguments: str, message: str) -> None:
    result = command(*arguments.split(" "))
    assert result.exit_code == 2
    assert f"Error: {message}" in result.stderr


def test_what_others_are_told_to_write_exists() -> None:
    """And what is told to be somebody else's is none of ours."""
    ours = {spelling for parameter in cli.params for spelling in (*parameter.opts, *parameter.secondary_opts)}
    for flag, (whose, instead) in FOREIGN.items():
        assert whose
        assert flag not in ours
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", instead)) <= ours, flag


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--workers 0", "write 1 or more, or auto"),
        ("--workers -1", "write 1 or more, or auto"),
        ("--workers many", "write 1 or more, or auto"),
        ("--graceful-timeout -5s", "is not a duration: write 30s"),
        ("--worker-timeout soon", "is not a duration"),
        ("--worker-max-rss much", "is not a size: write 512M"),
        ("--backlog 0", "whole number of 1 or more"),
        ("--port 65536", "whole number from 0 to 65535"),
        ("--port http", "whole number from 0 to 65535"),
        ("--limit-max-requests 0", "whole number of 1 or more"),
        ("--log-level loud", "is not one of critical, error"),
        ("--log-format xml", "is not one of text, json"),
        ("--header nothing", "write Name:Value"),
        ("--header a:b\nc:d", "write Name:Value"),
        ("--reload-delay -1", "write a number"),
        ("--ws-per-message-deflate maybe", "neither true nor false"),
        ("--workerz 2", "--workers"),
        ("--http2", "--http2 needs --http zttp"),
        ("--ssl-keyfile /dev/null", "give --ssl-certfile too"),
        ("--ssl-certfile missing.pem", "cannot read --ssl-certfile missing.pem: No such file"),
        ("--env-file missing.env", "cannot read --env-file missing.env"),
        ("--log-config missing.ini", "cannot read --log-config missing.ini"),
        ("--bind :1 --port 2", "--bind and --port both say where to listen"),
        ("--config missing.toml", "cannot read the configuration missing.toml: No such file"),
        ("frobnicate", "write module:attribute, for example main:app; the commands are: check"),
        ("chek", "did you mean the command 'check'?"),
        ("relaod", "did you mean the command 'reload'?"),
        ("--workers 2 status", "the command comes first: reuseport status [flags]"),
        ("--workers 2 scale", "the command comes first: reuseport scale N [flags]"),
        ("main.py", "'main.py' is a file: name the module instead, main:app"),
        ("shop/web.py:site", "name the module instead, shop.web:site"),
        ("main:", "write module:attribute"),
        (".main:app", "write module:attribute"),
        ("shop/web:app", "write module:attribute"),
        ("shop..web:app", "write module:attribute"),
        ("--workers 2 check", "the command comes first: reuseport check"),
        ("main:app other:app", "unexpected extra argument"),
    ],
)
@pytest.mark.parametrize("word", ["", "check"])
def test_bad_usage_ends_with_2_and_one_sentence_that_names_the_fix(
    word: str, arguments: str, message: str
) -> None:
    words = arguments.split(" ")
    result = command(*([word] if word else []), *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        (
            "WEB_CONCURRENCY",
            "300000",
            "$WEB_CONCURRENCY: 300000 workers are more than",
        ),
        ("WEB_CONCURRENCY", "lots", "$WEB_CONCURRENCY: 'lots' is no number of workers"),
        ("PORT", "tcp://10.0.0.1:80", "$PORT: 'tcp://10.0.0.1:80' will not do"),
        ("REUSEPORT_JOIN", "maybe", "$REUSEPORT_JOIN: 'maybe' is neither true nor false"),
        ("UVICORN_APP", "main", "$UVICORN_APP: 'main' is no application"),
        ("REUSEPORT_CONFIG", "missing.toml", "cannot read the configuration missing.toml"),
    ],
)
def test_bad_environment_names_the_variable(variable: str, text: str, message: str) -> None:
    result = command(**{variable: text})
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("variable", ["REUSEPORT_PORT", "UVICORN_PORT"])
def test_what_kubernetes_sets_for_a_service_is_recognized(variable: str) -> None:
    result = command(**{variable: "tcp://10.0.0.1:80"})
    assert result.exit_code == 2
    assert "Kubernetes sets it for a Service of that name" in result.stderr


def test_json_logs_need_their_library(tmp_path: Path) -> None:
    # -S leaves the installed packages out; only what is named here can be imported.
    packages = Path(click.__file__).parent
    (tmp_path / "click").symlink_to(packages)
    root = Path(__file__).parents[1]
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]; from reuseport.cli import cli; cli()"
    )
    ended = python("-S", "-c", script, "--log-format", "json", directory=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert (
        ended.stderr == "Error: --log-format json needs python-json-logger: pip install 'reuseport[json]'\n"
    )


def test_other_systems_are_refused_before_anything_is_imported() -> None:
    script = (
        "import sys; sys.platform = 'darwin'; from reuseport.__main__ import main\n"
        "try: main()\n"
        "finally: print([m for m in sys.modules if m == 'click' or m.startswith('reuseport.')])"
    )
    ended = python("-c", script)
    assert ended.returncode == 2
    assert ended.stderr == "Error: reuseport needs Linux; on darwin run uvicorn itself.\n"
    assert ended.stdout == "['reuseport.__main__']\n"


def test_the_launcher_side_of_the_command_line_imports_no_uvicorn_and_no_ssl() -> None:
    script = "import sys, reuseport.cli; print({'uvicorn', 'starlette', 'ssl', 'asyncio'} & set(sys.modules))"
    ended = python("-c", script)
    assert ended.stdout == "set()\n"


def test_python_m_reuseport_is_the_command_line() -> None:
    ended = python("-m", "reuseport", "--workers", "0")
    assert ended.returncode == 2
    assert "Usage: reuseport [OPTIONS] [APP]" in ended.stderr


def test_no_flag_means_no_value_was_typed(tmp_path: Path) -> None:
    with cli.make_context("reuseport", ["--config", str(tmp_path / "empty.toml")]) as context:
        (tmp_path / "empty.toml").write_text("")
        assert settings_of(context) == DEFAULTS


# ── completion ────────────────────────────────────────────────────────────────────────────────────────

COMPLETED: list[tuple[tuple[str, ...], set[str]]] = [
    (("reuseport", "rel"), {"reload"}),
    (("reuseport", "sho"), {"shop:app"}),
    (("reuseport", "--bal"), {"--balance"}),
    (("reuseport", "app:app", "--balance", ""), {"auto", "least-loaded", "round-robin", "cpu", "hash"}),
    (("reuseport", "check", "app:app", "--graceful"), {"--graceful-timeout"}),
    (("reuseport", "reload", "--w"), {"--wait"}),
    (("reuseport", "check", "rel"), set()),
]


@pytest.mark.parametrize(("words", "offered"), COMPLETED, ids=[" ".join(words) for words, _ in COMPLETED])
def test_a_shell_completes(words: tuple[str, ...], offered: set[str], tmp_path: Path) -> None:
    """By what `completion bash` prints, in a real bash."""
    (tmp_path / "shop.py").touch()
    source = CliRunner().invoke(cli, ["completion", "bash"]).output
    script = f"""{source}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_reuseport_completion reuseport
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", *words],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
    )
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_theirs(shell: str) -> None:
    assert "_REUSEPORT_COMPLETE" in CliRunner().invoke(cli, ["completion", shell]).output
