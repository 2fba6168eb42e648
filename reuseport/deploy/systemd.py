"""A hardened unit, its drop-ins, a socket unit and a sysctl file."""

from __future__ import annotations

import sys
from pathlib import PurePath

from reuseport.deploy.carried import for_systemd, words
from reuseport.deploy.order import Order, Stop
from reuseport.deploy.rendering import File, filled
from reuseport.kernel.addresses import TCPAddress, UnixAddress, parse_all

_HOMES = (PurePath("/home"), PurePath("/root"), PurePath("/run/user"))
_TEMPORARY = (PurePath("/tmp"), PurePath("/var/tmp"))  # noqa: S108 - nothing is written there
_UNSEEN = "# Not from here: /tmp is the service's own, and empty. Generate it where the application is.\n"


def systemd(order: Order) -> list[File]:
    """In the order in which one reads them."""
    name, settings = order.name, order.settings
    command = list(order.command)
    stop = Stop.of(settings)
    low = any(isinstance(one, TCPAddress) and one.port < 1024 for one in parse_all(settings.binds()))
    names: dict[str, object] = {
        "name": name,
        "app": order.app.replace("%", "%%"),
        # The manager chooses who we are: so the launcher, too, is nobody.
        "start": for_systemd([*command, order.app, *words(order.typed, {"user", "group"})]),
        "reload": for_systemd([*command, "reload", "--wait"]),
        "unseen": _UNSEEN if _in(_TEMPORARY, order) else "",
        "directory": str(order.directory).replace("%", "%%"),
        "user": _user(order),
        "home": "read-only" if _in(_HOMES, order) else "yes",
        "stop": stop.total,
        "sum": stop.sum(),
        "capabilities": "CAP_NET_BIND_SERVICE" if low else "",
        "users": "no" if low else "yes",
        "listen": _listen(order),
        "backlog": settings.backlog,
        "somaxconn": max(settings.backlog, 4096),
    }
    return [
        File(f"{name}.service", filled("service", names)),
        File(f"{name}.service.d/steering.conf", filled("steering.conf", names)),
        File(f"{name}.service.d/notify-reload.conf.253", filled("notify-reload.conf", names)),
        File(f"{name}.socket", filled("socket", names)),
        File(f"sysctl.d/{name}.conf", filled("sysctl.conf", names)),
    ]


def _user(order: Order) -> str:
    user, group = order.settings.user, order.settings.group
    if user is None:
        return "DynamicUser=yes" if group is None else f"DynamicUser=yes\nGroup={group}"
    return f"User={user}" if group is None else f"User={user}\nGroup={group}"


def _in(hidden: tuple[PurePath, ...], order: Order) -> bool:
    """Whether what has to be read lies where the unit would hide it."""
    places = (order.directory, PurePath(order.command[0]), PurePath(sys.base_prefix))
    return any(place.is_relative_to(one) for place in places for one in hidden)


def _listen(order: Order) -> str:
    """One listener a worker, where their number is known, or one for all."""
    lines = []
    workers = order.settings.workers
    for address in parse_all(order.settings.binds()):
        if isinstance(address, TCPAddress):
            many = workers if isinstance(workers, int) else 1
            lines += [f"ListenStream={address}"] * many
        elif isinstance(address, UnixAddress):
            lines.append(f"ListenStream={address.path}")
    return "\n".join(lines)
