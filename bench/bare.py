"""The same worker with and without its meter of requests, as classes for --http: only to be measured.

`Metered` is what the product serves with; `Bare` calls the application that the meter is around.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from reuseport.worker.transfer import TransferableHttpTools


class Metered(TransferableHttpTools):
    """As it is."""


class Bare(TransferableHttpTools):
    """Counts nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = _inner(self.app)


@functools.cache
def _inner(counted: Any) -> Any:
    """The application that `Requests.around` was given."""
    return inspect.getclosurevars(counted).nonlocals["app"]
