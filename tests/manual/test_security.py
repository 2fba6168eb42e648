"""Every test that the threat model names exists, and every claim on a boundary that holds names one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "reuseport/manual/security.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")

CANNOT_BE_SHOWN = 6
"""Claims of what somebody can do, which are no promise of ours."""


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 30
    missing = [f"{file}::{name}" for file, name in named if name not in functions(TESTS / file)]
    assert not missing


def test_every_promise_names_the_test_that_shows_it() -> None:
    claims = re.findall(r"^- (.*?)(?=\n- |\n\n|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    unshown = [claim for claim in claims if not NAMED.search(claim)]
    promised = [claim for claim in unshown if claim.startswith(("cannot", "costs", "may look"))]
    assert not promised
    assert len(unshown) < CANNOT_BE_SHOWN, unshown
