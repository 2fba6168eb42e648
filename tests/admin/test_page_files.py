"""The files of the page: the vendored ones are as published, and none needs what the policy forbids."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reuseport

PAGE = Path(reuseport.__file__).parent / "admin" / "page"
VENDOR = PAGE / "vendor"
SCRIPTS = sorted(PAGE.glob("*.js"))

ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| `[^`]+` \| `(?P<sum>[0-9a-f]{64})` \|$", re.MULTILINE)


class Markup(HTMLParser):
    """Every element with its attributes, and the text inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.fixture(scope="module")
def index() -> Markup:
    markup = Markup()
    markup.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    markup.close()
    return markup


def test_what_is_vendored_is_what_was_written_down() -> None:
    text = (VENDOR / "VENDORED.md").read_text(encoding="utf-8")
    written = {row["name"]: row["sum"] for row in ROW.finditer(text)}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "VENDORED.md"
    }
    assert written == found
    assert "uPlot.LICENSE" in found
    version = re.search(r"\*\*uPlot (\S+)\*\*", text)
    assert version is not None
    assert f"(v{version[1]})" in (VENDOR / "uPlot.iife.min.js").read_text(encoding="utf-8")[:200]


def test_the_index_loads_only_files_of_this_folder(index: Markup) -> None:
    loaded = [
        attributes.get("src") or attributes.get("href") or ""
        for tag, attributes in index.elements
        if tag in ("script", "link", "img") and attributes.get("rel") != "icon"
    ]
    assert loaded
    for reference in loaded:
        assert reference.startswith("page/"), reference
        assert (PAGE.parent / reference).is_file(), reference


def test_the_index_has_nothing_inline(index: Markup) -> None:
    assert index.inline == []
    for tag, attributes in index.elements:
        forbidden = [name for name in attributes if name == "style" or name.startswith("on")]
        assert not forbidden, f"<{tag} {forbidden}>"
        assert tag not in ("style", "base", "iframe", "object", "embed"), tag
        for name in ("href", "src", "action"):
            assert "javascript:" not in (attributes.get(name) or "")


def test_every_id_is_given_once_and_every_reference_has_its_id(index: Markup) -> None:
    ids = [attributes["id"] for _, attributes in index.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in index.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            for reference in (attributes.get(name) or "").split():
                assert reference in ids, reference
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
    for script in SCRIPTS:
        for wanted in re.findall(r'(?<![.\w])get\("([\w-]+)"\)', script.read_text(encoding="utf-8")):
            assert wanted in ids, f"{script.name} gets {wanted!r}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_writes_text_and_asks_nobody_else(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "setHTML",
        "createContextualFragment",
        "eval(",
        "Function(",
        "http://",
        "https://",
        "cssText",
        'setAttribute("style"',
        "sessionStorage",
        "document.cookie",
    ):
        assert forbidden not in text, forbidden
    for module in re.findall(r'^import .* from "([^"]+)";$', text, re.MULTILINE):
        assert module.startswith("./")
        assert (PAGE / module).is_file(), module


def test_only_preferences_are_stored() -> None:
    """The token stays in a variable: whoever may store something is known by name."""
    storing = {path.name for path in SCRIPTS if "localStorage" in path.read_text(encoding="utf-8")}
    assert storing == {"theme.js", "keys.js"}


def test_the_style_sheet_loads_nothing() -> None:
    text = (PAGE / "page.css").read_text(encoding="utf-8")
    assert "url(" not in text
    assert "@import" not in text
