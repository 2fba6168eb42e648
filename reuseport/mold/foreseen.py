"""What workers would import, each for itself, and what applications and we have in common.

That is Starlette, which is ours because the launcher's page is made of it, and which most applications
import. Imported before the fork, it is there once and not in each worker. Without --preload nothing of the
application's is imported here, so it is left to the workers again, where an application would not get just
this: a project may have a starlette of its own, and an html.py.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import PathFinder

FORESEEN = "starlette.applications"

LATER = {"anyio.to_thread": "anyio._backends._asyncio"}
"""What is imported at its first call by who has imported what: for handlers that are no coroutines, and files
that are sent. With --preload: 1.5 MiB of each worker, which others need not have."""


def import_foreseen(path: Sequence[str], name: str = FORESEEN) -> bool:
    """Import it with all that it needs, if who imports it from `path` would get the same; otherwise nothing.

    Returns whether it is here. Ours must have been imported: only what is new with it is looked at.
    """
    before = set(sys.modules)
    with contextlib.suppress(ImportError):
        import_module(name)
    new = set(sys.modules) - before
    if name in sys.modules and all(_is_found(module, path) for module in new if "." not in module):
        return True
    for module in new:
        del sys.modules[module]
    return False


def import_later() -> None:
    """What the application, which is here, will call for."""
    for known, name in LATER.items():
        if known in sys.modules:
            with contextlib.suppress(ImportError):
                import_module(name)


def _is_found(name: str, path: Sequence[str]) -> bool:
    """Whether this module is what `path` leads to. What lies in a package is wherever that is."""
    ours = sys.modules[name].__spec__
    if ours is None or not ours.has_location:
        return True  # built in, and found before anything on a path
    theirs = PathFinder.find_spec(name, path)
    return theirs is not None and theirs.origin == ours.origin
