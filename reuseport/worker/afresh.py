"""The first lines of a process that the launcher has executed: an interpreter of its own, with nothing in it.

A process that is forked has all this from whom it was forked from; from `begin` on, both are the same.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib import import_module
from typing import Any, NoReturn

from reuseport import surroundings


def run(received: dict[str, Any], module: str) -> NoReturn:
    """Run `main` of a module of ours, or of a package's __main__, and exit with its status.

    Import from where the launcher does.
    """
    # In between there was also our package's home: not always a place to find anything else in.
    sys.path[:] = received["own"]
    del os.environ[surroundings.VARIABLE]
    os.environ.pop(surroundings.BACK, None)
    surroundings.given = surroundings.Surroundings(**received["given"])
    _be_called("reuseport.__main__")
    imported = import_module(module)
    if hasattr(imported, "__path__"):
        imported = import_module(f"{module}.__main__")
    sys.exit(imported.main())


def _be_called(name: str) -> None:
    """What is asked for as `__main__` is what `python -m` makes of this module.

    Who looks wants to know how the program was started. And what multiprocessing starts for the application
    imports it again (multiprocessing.spawn): that of a package is left alone, as uvicorn's is.
    """
    main, spec = sys.modules["__main__"], importlib.util.find_spec(name)
    if spec is None:
        raise ImportError(f"there is no module {name} where this one lies")
    main.__spec__ = spec
    main.__file__ = spec.origin
    main.__package__ = spec.parent
    main.__loader__ = spec.loader
    for ours in ("back", "it", "posix", "run", "sys"):
        vars(main).pop(ours, None)
