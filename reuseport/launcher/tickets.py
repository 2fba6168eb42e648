"""The key of TLS session tickets, a new one with each generation: a reload rotates it."""

from __future__ import annotations

import secrets

SIZE = 80
"""Bytes, as OpenSSL has it."""
KEPT = 4
"""Generations whose workers may still be started: the newest, and those that a reload has not replaced."""


class Tickets:
    """Of one server. It is told to workers, on their channels, and written nowhere."""

    def __init__(self) -> None:
        self._keys: dict[int, str] = {}

    def of(self, generation: int) -> str:
        """In hexadecimal digits."""
        if generation not in self._keys:
            self._keys[generation] = secrets.token_hex(SIZE)
            for old in sorted(self._keys)[:-KEPT]:
                del self._keys[old]
        return self._keys[generation]
