"""The kinds of value of `kinds` as click takes them."""

from __future__ import annotations

from typing import Any

import click

from reuseport.settings.kinds import Kind


class Value(click.ParamType):  # type: ignore[type-arg]  # generic in recent releases of click only
    """One kind: what was typed is refused with the kind's own sentence."""

    def __init__(self, kind: Kind) -> None:
        self.name = kind.metavar or "BOOLEAN"
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._kind.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
