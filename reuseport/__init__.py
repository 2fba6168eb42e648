"""reuseport: N independent uvicorn workers on one port, balanced by the kernel, supervised.

For applications: `reuseport.draining` tells that this worker drains (`notice`), `reuseport.only_one` has
something run in one worker only (`exclusion`). For scripts and tests: `reuseport.run` (`running`) and
`reuseport.serving` (`alongside`).
"""

__all__ = ["Draining", "Server", "__version__", "draining", "only_one", "run", "serving"]

__version__ = "0.1.0.dev0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reuseport.alongside import Server, serving
    from reuseport.exclusion import only_one
    from reuseport.notice import Draining, draining
    from reuseport.running import run


_WHERE = {
    "Draining": "notice",
    "Server": "alongside",
    "draining": "notice",
    "only_one": "exclusion",
    "run": "running",
    "serving": "alongside",
}


def __getattr__(name: str) -> object:
    """What comes with asyncio, when somebody asks for it (PEP 562).

    This file runs before it is decided where asyncio is imported from (`surroundings`).
    """
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f"reuseport.{_WHERE[name]}"), name)
    return found
