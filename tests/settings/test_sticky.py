"""What --sticky takes, and beside what."""

from __future__ import annotations

from pathlib import Path

import pytest

from reuseport.errors import ConfigurationError
from reuseport.settings.kinds import STICKY
from reuseport.settings.precedence import load
from reuseport.settings.table import Settings
from reuseport.settings.validation import validate


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("header:Mcp-Session-Id", "header:Mcp-Session-Id"),
        ("HEADER:x", "header:x"),
        ("cookie:sid", "cookie:sid"),
        ("query:a[]", None),
        ("query:session%20id", "query:session%20id"),
        ("insert", "insert"),
        ("insert:worker", "insert:worker"),
        ("insert:", None),
        ("insert:a b", None),
        ("header:", None),
        ("cookie:a;b", None),
        ("query:a=b", None),
        ("query:a&b", None),
        ("body:x", None),
        ("", None),
    ],
)
def test_a_rule(given: str, means: str | None) -> None:
    if means is None:
        with pytest.raises(ValueError, match="header:NAME, cookie:NAME, query:NAME or insert"):
            STICKY.parse(given)
    else:
        assert STICKY.parse(given) == means


def test_from_the_environment(tmp_path: Path) -> None:
    found = load({}, {"REUSEPORT_STICKY": "header:a cookie:b insert"}, tmp_path)
    assert found.sticky == ("header:a", "cookie:b", "insert")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (Settings(sticky=("insert",), http="zttp"), "--http httptools or h11"),
        (Settings(sticky=("insert",), http="mine:Protocol"), "--http httptools or h11"),
        (Settings(sticky=("insert", "insert:other")), "give it once"),
        (Settings(sticky=("insert",), ssl_certfile=__file__), "cannot move what is encrypted"),
    ],
)
def test_beside_what_it_cannot_be(settings: Settings, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        validate(settings)
