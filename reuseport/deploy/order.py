"""What a file is to be made for: application, flags, addresses, and the times that add up. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reuseport.errors import ConfigurationError
from reuseport.kernel.addresses import TCPAddress, UnixAddress, parse, parse_all
from reuseport.launcher.deciding.slots import Policy
from reuseport.settings.table import UNLIMITED_SHUTDOWN, Settings

_POLICY = Policy(workers=1, capacity=1)
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Order:
    """`typed` is what the command line gave, by field name; `settings` is that and a file's, with defaults.

    `command` runs us on this machine; `directory` is where the application lies.
    """

    name: str
    settings: Settings
    typed: Mapping[str, Any]
    command: tuple[str, ...]
    directory: Path

    @property
    def app(self) -> str:
        """module:attribute."""
        return self.settings.app

    def port(self) -> int:
        """Of the first address that has one. Raises ConfigurationError."""
        for address in parse_all(self.settings.binds()):
            if isinstance(address, TCPAddress) and address.port:
                return address.port
        raise ConfigurationError("give a port that clients can be sent to: --port 8000, or --bind HOST:PORT")

    def unix(self) -> str | None:
        """The path of the first unix socket."""
        addresses = parse_all(self.settings.binds())
        return next((address.path for address in addresses if isinstance(address, UnixAddress)), None)

    def admin_port(self, default: int) -> int:
        """Where probes go."""
        return port_of(self.settings.admin, "--admin") or default

    def agent_port(self, default: int) -> int:
        """Where HAProxy asks."""
        return port_of(self.settings.agent_check, "--agent-check") or default


def port_of(text: str | None, flag: str) -> int | None:
    """Of an address that was given; None: none was. Raises ConfigurationError."""
    if text is None:
        return None
    address = parse(text)
    if isinstance(address, TCPAddress) and address.port:
        return address.port
    raise ConfigurationError(f"{flag} {text}: give HOST:PORT, for others have to find it")


def name_of(app: str) -> str:
    """What a service is called that nobody has named: by the module."""
    words = re.sub(r"[^a-z0-9]+", "-", app.partition(":")[0].lower()).strip("-")
    return words[:63].strip("-") or "reuseport"


def checked_name(name: str) -> str:
    """Raises ConfigurationError for what not every consumer takes (RFC 1123 labels)."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"--name {name}: write small letters, digits and hyphens, 63 at most")
    return name


@dataclass(frozen=True)
class Stop:
    """How long a stop takes at most, in seconds: the delay, requests, who must be cut off, lifespan shutdown,
    and who does not go.
    """

    delay: float
    graceful: float
    shutdown: float
    limited: bool

    @classmethod
    def of(cls, settings: Settings) -> Stop:
        """By these settings."""
        limit = settings.shutdown_timeout
        return cls(
            settings.shutdown_delay, settings.graceful_timeout, limit or UNLIMITED_SHUTDOWN, bool(limit)
        )

    @property
    def total(self) -> int:
        """Whole seconds: whoever waits for us must not give up before."""
        patience = _POLICY.kill_grace + _POLICY.held
        return math.ceil(self.delay + self.graceful + self.shutdown + patience)

    def sum(self) -> str:
        """How it came about, for a comment."""
        shutdown = "--shutdown-timeout" if self.limited else "lifespan shutdown, which has no limit of ours"
        parts = [
            *([f"{self.delay:g} --shutdown-delay"] if self.delay else []),
            f"{self.graceful:g} --graceful-timeout",
            f"{self.shutdown:g} {shutdown}",
            f"{_POLICY.kill_grace + _POLICY.held:g} for who does not go",
        ]
        return " + ".join(parts)
