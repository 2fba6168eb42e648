"""One page of HTML that needs nothing else: tables, plots, expectations, machine, and every raw round."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from html import escape

from bench.kit.arithmetic import judged
from bench.kit.results import Results
from bench.report.tables import Table, table
from bench.report.text import lost, machine_line

SUBJECT = "reuseport"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; }
body { padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.85rem; }
th, td { padding: 0.2rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th:first-child, td:first-child, table.words th, table.words td { text-align: left; }
tr.ours { font-weight: 600; } .note { color: #666; font-size: 0.85rem; margin: 0.2rem 0; }
.error { color: #a11; } svg { max-width: 100%; height: auto; } code, pre { background: #f4f4f4; }
pre { overflow-x: auto; padding: 0.6rem; font-size: 0.75rem; }
@media (prefers-color-scheme: dark) {
  body { background: #16191d; color: #ddd; } th, td { border-color: #333; } code, pre { background: #23272d; }
  svg { background: #fff; }
}
"""


def page(results: Results, plots: Mapping[str, str], changes: Sequence[str]) -> str:
    """The whole page."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><title>reuseport, compared</title>',
            f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>',
            "<h1>reuseport, compared</h1>",
            *_paragraphs(
                [machine_line(results.machine, results.begun), f"{results.command}, {_took(results)}."]
            ),
            *_paragraphs([*results.notes], "error"),
            *_expected(results),
            *_list(
                f"Who is better than {SUBJECT}, in every round",
                [t for row in results.rows for t in lost(row)],
            ),
            *_list("Since the older result", changes),
            *(
                part
                for row in results.rows
                for part in _row(table(row), row.subject, plots.get(row.name, ""))
            ),
            "<h2>Machine</h2>",
            f"<pre>{escape(json.dumps(results.machine, indent=1))}</pre>",
            "<details><summary>Every raw round</summary>",
            f"<pre>{escape(json.dumps(asdict(results)['rows'], indent=1))}</pre></details>",
            "</body></html>",
        ]
    )


def _took(results: Results) -> str:
    return f"{results.seconds / 60:.1f} minutes"


def _expected(results: Results) -> Iterator[str]:
    yield "<h2>Expected, and found</h2>"
    yield '<table class="words"><tr><th>row</th><th>expected</th><th>found</th><th></th></tr>'
    for row in results.rows:
        for one in judged(row):
            cells = (row.name, one.expected, one.found, one.verdict)
            yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    yield "</table>"


def _row(given: Table, subject: str, plot: str) -> Iterator[str]:
    yield f"<h2>{escape(given.title)}</h2>"
    yield plot
    yield f"<table><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in given.head)}</tr>"
    for line in given.lines:
        ours = ' class="ours"' if line[0] == subject else ""
        yield f"<tr{ours}>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>"
    yield "</table>"
    for note in given.notes:
        yield f'<p class="note{" error" if note.startswith("ERROR") else ""}">{escape(note)}</p>'
    yield f'<p class="note">Again: <code>{escape(given.command)}</code></p>'


def _paragraphs(texts: Sequence[str], kind: str = "note") -> Iterator[str]:
    for text in texts:
        yield f'<p class="{kind}">{escape(text)}</p>'


def _list(title: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield f"<h2>{escape(title)}</h2><ul>"
        yield from (f"<li>{escape(text)}</li>" for text in texts)
        yield "</ul>"
