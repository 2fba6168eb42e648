"""The modes on 2 to 512 workers, by a simulation that is calibrated and checked on this machine.

    python -m bench.simulate [--measured FILE] [--seconds S] [--output DIR]

First real servers are measured under a load whose slow requests block without using a core, on 2 workers
and on 8; the model is calibrated on the former and checked against both, and its error is stated. Then it is
asked about more workers than there are here. With --measured nothing is measured again.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.kit.contest import enter_namespace
from bench.report.simulated import curves, told
from bench.simulation.measuring import Measurements, measurements
from bench.simulation.study import WORKERS, calibrated, checked, herds, kept, scaled

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure, simulate, report."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--measured", metavar="FILE", type=Path, help="simulation.json of an earlier run")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a measured run")
    parser.add_argument("--most", type=int, default=max(WORKERS), help="workers to simulate")
    parser.add_argument("--output", metavar="DIR", type=Path)
    arguments = parser.parse_args()
    now = datetime.now(UTC)
    if arguments.measured is None:
        enter_namespace()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        found = measurements(arguments.seconds)
    else:
        found = Measurements(**json.loads(arguments.measured.read_text(encoding="utf-8"))["measured"])
    output = arguments.output or RESULTS / now.strftime("%Y-%m-%d-%H%M%S-simulation")
    output.mkdir(parents=True, exist_ok=True)

    sizes = tuple(size for size in WORKERS if size <= arguments.most)
    worker = calibrated(found)
    checks, points, pools = checked(found, worker), list(scaled(found, worker, sizes)), list(kept(sizes))
    data = {
        "measured": found.data(),
        "worker": asdict(worker),
        "checks": [asdict(one) for one in checks],
        "points": [asdict(one) for one in points],
        "kept": [asdict(one) for one in pools],
    }
    (output / "simulation.json").write_text(json.dumps(data) + "\n", encoding="utf-8")
    text = "\n".join(told(found, worker, checks, points, pools, list(herds(found)), now.date().isoformat()))
    (output / "simulation.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    try:
        (output / "simulation.svg").write_text(curves(points, pools), encoding="utf-8")
    except ImportError as error:
        print(f"no plot: {error}: install the dependency group bench")
    print(f"{output}: simulation.json, simulation.md, simulation.svg")


if __name__ == "__main__":
    main()
