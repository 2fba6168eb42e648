"""Settings as keywords: typed as the table says, and the command line says what they say."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.core import ParameterSource

from reuseport.cli import cli
from reuseport.errors import ConfigurationError
from reuseport.settings import precedence
from reuseport.settings.keywords import Keywords, arguments, read
from reuseport.settings.kinds import PASSWORD
from reuseport.settings.table import DEFAULTS, FLAGS
from tests.papers import ROOT

ODD = "-x y=z, 'é'"
WORDS = (
    ODD,
    "shop.hooks:warm",
    "cookie:sid",
    "X-A:b c",
    "a.test=b c.pem",
    "127.0.0.1",
    "10.0.0.0/8",
    "unix",
    "1",
)
"""Texts of which every kind of text takes one, the oddest first."""


def test_the_class_is_what_the_table_says() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/keywords", "--check"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(Keywords.__annotations__) == set(FLAGS) - {"app"} | {"config"}


def samples(name: str) -> list[Any]:
    """Values of the setting, as a script may give them."""
    kind, default = FLAGS[name].kind, getattr(DEFAULTS, name)
    if kind.metavar in (None, "BOOLEAN"):
        return [True, False]
    if name == "app":
        return ["shop.web:app"]
    if kind.separator is not None:
        return [[taken(name), taken(name)], (taken(name),)]
    if kind.metavar.startswith("[") and "|" in kind.metavar and "MODULE" not in kind.metavar:
        return kind.metavar.strip("[]").split("|")
    if kind.metavar == "DURATION":
        return [0, 1.5, "1h30m"]
    if kind.metavar == "SIZE":
        return [4096, "1.5G"]
    if int in kind.native:
        return [default or 1, 1]
    if kind.metavar == "PATH":
        return [ODD, Path("a/b c")]
    return [0.25] if float in kind.native else [taken(name)]


def taken(name: str) -> str:
    """The first of the words that the setting's kind takes."""
    for word in WORDS:
        with contextlib.suppress(ValueError):
            FLAGS[name].kind.parse(word)
            return word
    pytest.fail(f"no word is one for {name}: add one to WORDS")


CASES = [(name, value) for name in FLAGS for value in samples(name)]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_the_command_line_says_what_the_keyword_says(name: str, value: Any) -> None:
    given = read({name: value})
    line, variables = arguments(given)
    with cli.make_context("reuseport", list(line)) as context:
        typed = {
            field: context.params[field]
            for field in FLAGS
            if context.get_parameter_source(field) is ParameterSource.COMMANDLINE
        }
    said = {field: one.value for field, one in precedence._from_environment(variables)}
    assert typed | said == given
    assert bool(line) != bool(variables)


def test_a_password_is_not_in_the_command_line() -> None:
    (name,) = (name for name, flag in FLAGS.items() if flag.kind is PASSWORD)
    line, variables = arguments(read({name: "secret"}))
    assert line == []
    assert list(variables.values()) == ["secret"]


def test_none_is_as_if_it_were_not_there() -> None:
    assert read({"workers": None, "port": 1}) == {"port": 1}


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"wrokers": 4}, "there is no setting 'wrokers'; did you mean 'workers'?"),
        ({"workers": "many"}, "workers: 'many' is no number of workers: write 1 or more, or auto"),
        ({"port": "8000"}, "port: '8000' will not do: write a whole number"),
        ({"port": True}, "port: True will not do"),
        ({"bind": ":80"}, "bind: ':80' will not do: write a list, each a string"),
        ({"join": 1}, "join: 1 will not do: write true or false"),
        ({"graceful_timeout": "soon"}, "graceful_timeout: 'soon' is not a duration"),
        ({"app": "shop.py"}, "app: 'shop.py' is a file: name the module instead"),
        ({"log_config": {"version": 1}}, "log_config is the path of a file: json.dump() the dictionary"),
        ({"headers": 3}, "headers: 3 will not do: write a list, each a string"),
        ({"headers": [("X-A", "b")]}, 'headers are texts: write ["Name:value"] instead of pairs'),
    ],
)
def test_what_cannot_be_is_refused_in_the_words_of_the_file(keywords: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(keywords)
    assert words in str(refused.value)
