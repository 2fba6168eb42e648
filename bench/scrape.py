"""`python -m bench.scrape`: what a scrape at 64 slots costs the launcher, besides reading the figures."""

from __future__ import annotations

import argparse
import statistics
import time

from reuseport.admin.metrics import exposition
from tests.admin.statuses import status

BOUND_MS = 12.0


def main() -> int:
    """Print the median and the worst; status 1 above the bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--times", type=int, default=200)
    arguments = parser.parse_args()
    made = status(arguments.slots)
    took = []
    for _ in range(arguments.times):
        begun = time.process_time()
        body, _ = exposition(made)
        took.append(1000 * (time.process_time() - begun))
    median = statistics.median(took)
    samples = sum(not line.startswith(b"#") for line in body.splitlines())
    print(
        f"{arguments.slots} slots: {samples} samples, {len(body) / 1024:.0f} KiB in {median:.1f} ms of CPU"
        f" (median of {arguments.times}, worst {max(took):.1f}); at most {BOUND_MS:g} is asked"
    )
    return median > BOUND_MS


if __name__ == "__main__":
    raise SystemExit(main())
