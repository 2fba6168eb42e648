"""The kinds of value of `kinds` as click takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reuseport.settings.kinds import Kind

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


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

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words of a choice; files where a path stands."""
        from click.shell_completion import CompletionItem

        del ctx, param
        if self.name == "PATH":
            return [CompletionItem(incomplete, type="file")]
        words = self.name.removeprefix("[").removesuffix("]").split("|") if "|" in self.name else []
        return [CompletionItem(word) for word in words if word.islower() and word.startswith(incomplete)]
