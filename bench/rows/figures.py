"""Metrics that many rows have, and figures that all of them record."""

from __future__ import annotations

from collections.abc import Sequence

from bench.kit.asking import Answer, Clients, at_once, percentile
from bench.kit.contest import Running
from bench.kit.quiet import Cores
from bench.kit.results import Metric

RATE = Metric("rate", "requests/s", "", "higher")
CPU = Metric("cpu", "CPU a request", "µs", "lower", 1e6, ",.1f")
P50 = Metric("p50", "p50", "ms", "lower", 1e3, ",.2f")
P99 = Metric("p99", "p99", "ms", "lower", 1e3, ",.2f")
P999 = Metric("p999", "p99.9", "ms", "lower", 1e3, ",.1f")
SLOWEST = Metric("slowest", "slowest", "ms", "lower", 1e3, ",.1f")
MEMORY = Metric("memory", "PSS of all", "MiB", "lower", 1.0, ",.1f")

WARM_TOGETHER, WARM_TIMES = 32, 15


def account(cores: Cores, requests: int) -> dict[str, float]:
    """The server's CPU time for each request, and who used the cores. Raises RuntimeError for no request."""
    if not requests:
        raise RuntimeError("not one request was answered")
    return {
        "cpu": cores.spent / requests,
        "requests": requests,
        "server_cores": cores.server,
        "client_cores": cores.client,
        "other_cores": cores.others,
    }


def latencies(answers: Sequence[Answer]) -> dict[str, float]:
    """From when each was due. Raises ValueError for no answer."""
    seconds = sorted(answer.latency for answer in answers)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    return {**{name: percentile(seconds, share) for name, share in shares.items()}, "slowest": seconds[-1]}


def warm(one: Running) -> None:
    """A few requests on new connections, so that every worker has met some. Raises RuntimeError."""
    with Clients(one.port) as clients:
        for _ in range(WARM_TIMES):
            at_once(clients, "/", WARM_TOGETHER)
        if clients.failures:
            raise RuntimeError(f"the first requests failed: {dict(clients.failures)}")
