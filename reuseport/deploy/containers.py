"""A Dockerfile, and who runs what it builds: compose, Kubernetes, Nomad.

Inside a container we are nobody (uid 10001), see a root that cannot be written, and are PID 1.
"""

from __future__ import annotations

import math
import platform
from dataclasses import replace

from reuseport.deploy.carried import for_yaml, words
from reuseport.deploy.order import Order, Stop
from reuseport.deploy.rendering import File, filled
from reuseport.kernel.addresses import TCPAddress, parse_all

USER = 10001
"""In nobody's user database, and above those that hosts give to their own."""
ADMIN = 9090
DELAY = 5.0
"""Seconds of --shutdown-delay where nobody has said: a Service is told of our end beside us, not before."""
STARTS_EVERY = 2
"""Seconds between two startup probes."""

_ADDRESSES = ("host", "port", "bind", "uds", "fd")
_CHOSEN_THERE = (*_ADDRESSES, "user", "group", "admin", "admin_open", "shutdown_delay")
_LOOPBACK = ("127.", "::1", "localhost")


def dockerfile(order: Order) -> list[File]:
    """Two stages; what is needed to build stays behind."""
    return [
        File("Dockerfile", filled("Dockerfile", _names(order))),
        File(".dockerignore", filled("dockerignore", {})),
    ]


def compose(order: Order) -> list[File]:
    """For `docker compose`."""
    return [File("compose.yaml", filled("compose.yaml", _names(order)))]


def kubernetes(order: Order) -> list[File]:
    """A Deployment, a Service, and how many may be missing at once."""
    return [File(f"{order.name}.yaml", filled("kubernetes.yaml", _names(_patient(order))))]


def nomad(order: Order) -> list[File]:
    """A job."""
    return [File(f"{order.name}.nomad.hcl", filled("nomad.hcl", _names(_patient(order))))]


def _patient(order: Order) -> Order:
    """Whoever sends us clients hears late that we stop."""
    if "shutdown_delay" in order.typed:
        return order
    return replace(order, settings=replace(order.settings, shutdown_delay=DELAY))


def _names(order: Order) -> dict[str, object]:
    settings = order.settings
    stop = Stop.of(settings)
    admin = order.admin_port(ADMIN)
    return {
        "name": order.name,
        "app": order.app,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "user": USER,
        "port": order.port(),
        "admin": admin,
        "arguments": for_yaml(arguments(order)),
        "stop": stop.total,
        "sum": stop.sum(),
        "startups": math.ceil((settings.startup_timeout or 600) / STARTS_EVERY),
        "starts_every": STARTS_EVERY,
        "healthy": for_yaml(["python", "-c", _ASK.format(port=admin)]),
        "healthcheck": for_yaml(["CMD", "python", "-c", _ASK.format(port=admin)]),
    }


_ASK = "from urllib.request import urlopen; urlopen('http://127.0.0.1:{port}/readyz', timeout=2)"


def arguments(order: Order) -> list[str]:
    """What follows `reuseport`: addresses that can be reached from outside, and the flags that were typed."""
    settings = order.settings
    found = [order.app]
    for address in parse_all(settings.binds()):
        if isinstance(address, TCPAddress):
            # Its own loopback is a container's secret.
            host = "0.0.0.0" if address.host.startswith(_LOOPBACK) else address.host
            found += ["--bind", str(TCPAddress(host, address.port))]
        else:
            found += ["--bind", str(address)]
    found += ["--admin", f"0.0.0.0:{order.admin_port(ADMIN)}"]
    if settings.admin_token_file is None:
        found.append("--admin-open")
    if settings.shutdown_delay:
        found += ["--shutdown-delay", f"{settings.shutdown_delay:g}s"]
    return [*found, *words(order.typed, _CHOSEN_THERE)]
