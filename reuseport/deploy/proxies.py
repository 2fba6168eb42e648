"""In front of us: HAProxy, told the truth, and nginx."""

from __future__ import annotations

from reuseport.deploy.order import Order
from reuseport.deploy.rendering import File, filled

ADMIN, AGENT = 9090, 9091


def haproxy(order: Order) -> list[File]:
    """A frontend, a backend, health checks and agent checks."""
    port = order.port()
    names: dict[str, object] = {
        "name": order.name,
        "app": order.app,
        "port": port,
        "admin": order.admin_port(ADMIN),
        "agent": order.agent_port(AGENT),
        "keep": _keep(order),
    }
    return [File(f"{order.name}.haproxy.cfg", filled("haproxy.cfg", names))]


def nginx(order: Order) -> list[File]:
    """A server, for conf.d or sites-enabled."""
    unix = order.unix()
    server = f"unix:{unix}" if unix is not None else f"127.0.0.1:{order.port()}"
    names: dict[str, object] = {
        "name": order.name,
        "app": order.app,
        "variable": order.name.replace("-", "_"),
        "server": server,
        "keep": _keep(order),
        "trusted": "'*'" if unix is not None else "127.0.0.1",
    }
    return [File(f"{order.name}.nginx.conf", filled("nginx.conf", names))]


def _keep(order: Order) -> int:
    """Seconds that a proxy keeps a connection to us: less than we do, or it would send into our closing."""
    return max(1, order.settings.timeout_keep_alive - 1)
