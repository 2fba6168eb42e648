"""Every row of what is shared over a fork names a test that exists."""

from __future__ import annotations

from tests.manual.test_security import NAMED, TESTS, functions

PAGE = (TESTS.parent / "reuseport/manual/forks.md").read_text(encoding="utf-8")


def test_every_row_names_a_test_that_exists() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    assert [row for row in rows if not NAMED.search(row)] == []
    named = NAMED.findall(PAGE)
    assert [f"{file}::{name}" for file, name in named if name not in functions(TESTS / file)] == []
