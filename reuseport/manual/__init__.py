"""The manual: one Markdown file a topic, in the wheel; `reuseport manual TOPIC` shows it.

A topic's first line is its title, `# Title`, and its first paragraph says in one sentence what stands there.
What a file copies from the code stands between markers and is written by scripts/readme.
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent


def topics() -> dict[str, str]:
    """Every topic by name, in order, and the sentence that it begins with."""
    return {path.stem: _first_paragraph(text(path.stem)) for path in sorted(HERE.glob("*.md"))}


def text(topic: str) -> str:
    """All of one topic, Markdown. Raises FileNotFoundError."""
    return (HERE / f"{topic}.md").read_text(encoding="utf-8")


def _first_paragraph(markdown: str) -> str:
    _title, paragraph, *_ = markdown.split("\n\n", 2)
    return " ".join(paragraph.split())
