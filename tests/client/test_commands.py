"""The commands as they are typed: their help, and mistakes that no launcher is needed for."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result

from reuseport.cli import cli
from reuseport.client.commands import COMMANDS


def command(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "110"}).invoke(cli, list(arguments), prog_name="reuseport")


def test_the_main_help_has_every_command_in_one_line() -> None:
    lines = command("--help").output.splitlines()
    for word, each in COMMANDS.items():
        (line,) = [line for line in lines if line.startswith(f"    {word} ")]
        assert line.split(maxsplit=1)[1] == each.get_short_help_str(200)


@pytest.mark.parametrize("word", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_each_says_which_launcher_is_meant_and_how_it_ends(word: str, flag: str) -> None:
    result = command(word, flag)
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: reuseport {word} [OPTIONS]")
    for text in (
        "--pid N",
        "--pid-file PATH",
        "--port N",
        "--control PATH",
        "Exit codes:",
        "  4  no launcher",
    ):
        assert text in result.output
    assert ("  5  --timeout is over" in result.output) == ("--wait" in result.output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("scale", "Missing argument 'N'"),
        ("scale many", "'many' is not a valid integer"),
        ("scale 0", "0 is not in the range x>=1"),
        ("drain -1", "-1"),
        ("drain", "Missing argument 'SLOT'"),
        ("status extra", "unexpected extra argument"),
        ("status --events 0", "0 is not in the range"),
        ("status --events --stacks 1", "--events and --stacks show different things"),
        ("status --prot 1", "--port"),
        ("reload --timeout 3s", "--timeout needs --wait"),
        ("reload --wait --timeout soon", "is not a duration"),
        ("stop --pid 1 --control a.sock", "--control and --pid each say which launcher is meant"),
        ("top --count 0", "0 is not in the range"),
    ],
)
def test_bad_usage_ends_with_2(arguments: str, message: str) -> None:
    result = command(*arguments.split())
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_options_may_stand_before_and_after_arguments() -> None:
    for arguments in (["--port", "8000", "4", "--wait"], ["4", "--wait", "--port", "8000"]):
        with COMMANDS["scale"].make_context("scale", arguments) as context:
            assert (context.params["workers"], context.params["port"], context.params["wait"]) == (
                4,
                8000,
                True,
            )


def test_what_a_command_needs_is_imported_when_it_runs() -> None:
    heavy = {"http.client", "rich", "ssl", "asyncio", "reuseport.client.control", "reuseport.client.finding"}
    script = f"import sys, reuseport.cli; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_command_has_a_place_in_the_main_one() -> None:
    for word in COMMANDS:
        arguments = (
            [word, "1"] if any(isinstance(p, click.Argument) for p in COMMANDS[word].params) else [word]
        )
        with cli.make_context("reuseport", arguments) as context:
            assert context.command is COMMANDS[word]
