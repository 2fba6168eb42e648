"""What can be generated, by name."""

from __future__ import annotations

from collections.abc import Callable

from reuseport.deploy.containers import compose, dockerfile, kubernetes, nomad
from reuseport.deploy.order import Order
from reuseport.deploy.proxies import haproxy, nginx
from reuseport.deploy.rendering import File
from reuseport.deploy.systemd import systemd

KINDS: dict[str, Callable[[Order], list[File]]] = {
    "systemd": systemd,
    "dockerfile": dockerfile,
    "compose": compose,
    "kubernetes": kubernetes,
    "nomad": nomad,
    "haproxy": haproxy,
    "nginx": nginx,
}
