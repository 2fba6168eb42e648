"""Hours in minutes: load of all kinds while everything happens to the server. What is held stays flat, and
what is lost is zero.

    python -m bench.soak [--short] [--workers N] [--seed N] [--output DIR] [-- FLAG …]

30 minutes, or 2 with --short. Ends with status 1 if anything grew or was lost. Leaves soak.html, soak.svg and
soak.json in DIR.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.kit.machine import described
from bench.report.soaked import page, picture
from bench.soaking.story import Length, soak
from bench.soaking.verdict import findings

LONG = Length(phases=30, seconds=50.0, pause=4.0)
SHORT = Length(phases=6, seconds=14.0, pause=2.0)
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run, judge, draw."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="2 minutes instead of 30")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of what happens when")
    parser.add_argument("--output", metavar="DIR", type=Path, help="default bench/results/soak-DATE")
    parser.add_argument("flags", nargs="*", help="of reuseport, after --")
    arguments = parser.parse_args()
    begun = datetime.now(UTC)
    output = arguments.output or RESULTS / begun.strftime("soak-%Y-%m-%d-%H%M%S")
    output.mkdir(parents=True, exist_ok=True)
    command = f"python -m bench.soak {' '.join(sys.argv[1:])}"
    print(f"# {command}", flush=True)
    length = SHORT if arguments.short else LONG
    record, tallies = soak(length, arguments.workers, tuple(arguments.flags), arguments.seed)
    for kind, tally in tallies.items():
        print(f"{kind}: {tally}")
    found = list(findings(record))
    for finding in found:
        print(f"{'met' if finding.met else 'MISSED'}: {finding.name}: {finding.text}")
    whole = {"command": command, "begun": begun.isoformat(), "machine": described(), **asdict(record)}
    (output / "soak.json").write_text(json.dumps(whole, indent=1), encoding="utf-8")
    try:
        drawn = picture(record)
    except ImportError as error:
        drawn = ""
        print(f"no plots: {error}: install the dependency group bench")
    (output / "soak.svg").write_text(drawn, encoding="utf-8")
    (output / "soak.html").write_text(page(record, tallies, found, drawn, command), encoding="utf-8")
    print(output / "soak.html")
    return 0 if all(finding.met for finding in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
