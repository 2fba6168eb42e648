"""The experiment that the project grew from: autocannon, 100 connections, and a page that adds numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from bench.kit.comparison import Trial
from bench.kit.quiet import accounted
from bench.kit.results import Beside, Figures
from bench.rows.figures import account
from bench.served.lineup import started
from bench.served.peers import NODE

APP = "bench.served.framework:app"
AUTOCANNON = NODE / "node_modules" / "autocannon" / "autocannon.js"
CONNECTIONS = 100
SECONDS = 10.0
MILLISECONDS = 25.0
"""What a request cost in the article: 100 of them in flight, 36.5 done in a second, one at a time."""

SINGLE = {"sent": 465.0, "rate": 36.5, "mean": 2.36621}
CLUSTERED = {"sent": 2000.0, "rate": 163.4, "mean": 0.58188}
"""The article's figures; its number of cores is not told."""


def beside(clustered: str, single: str) -> tuple[Beside, ...]:
    """The article's ratios, for those of a runtime here."""
    return tuple(
        Beside(clustered, single, metric, CLUSTERED[metric] / SINGLE[metric], "the article")
        for metric in ("rate", "sent", "mean")
    )


def article(trial: Trial) -> Figures:
    """One server under autocannon. Raises RuntimeError for any error."""
    page, lasts = trial.slow(MILLISECONDS), round(trial.pace.seconds(SECONDS))
    with started(trial.entry, 2, APP) as one:
        report, cores = accounted(one, lambda: autocannon(one.url(page), lasts))
    failed = report["errors"] + report["timeouts"] + report["non2xx"]
    if failed:
        raise RuntimeError(f"autocannon met {failed} errors")
    figures = {
        "sent": report["requests"]["sent"],
        "rate": report["requests"]["average"],
        "mean": report["latency"]["average"] / 1e3,
    }
    return {**figures, **account(cores, report["requests"]["total"])}


def autocannon(url: str, seconds: int) -> dict[str, Any]:
    """Its report. Raises OSError, CalledProcessError, ValueError."""
    shape = ["-c", str(CONNECTIONS), "-d", str(seconds), "--timeout", "60", "--json", "--no-progress"]
    command = [shutil.which("node") or "node", str(AUTOCANNON), *shape, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report
