"""An application that holds 16 MiB from its import on, of many small objects, which refer to each other."""

from __future__ import annotations

from reuseport.demo import app

LADEN = 60_000
"""Dictionaries of some 280 bytes each, with what they hold."""

__all__ = ["app", "held"]

held: list[dict[str, object]] = []
for number in range(LADEN):
    held.append({"number": number, "held": held, "text": f"object {number}"})
