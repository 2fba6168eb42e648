"""reuseport: N independent uvicorn workers on one port, balanced by the kernel, supervised.

For applications: `reuseport.draining` tells that this worker drains (`notice`), `reuseport.only_one` has
something run in one worker only (`exclusion`).
"""

__all__ = ["Draining", "__version__", "draining", "only_one"]

__version__ = "0.1.0.dev0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reuseport.exclusion import only_one
    from reuseport.notice import Draining, draining


def __getattr__(name: str) -> object:
    """What comes with asyncio, when somebody asks for it (PEP 562).

    This file runs before it is decided where asyncio is imported from (`surroundings`).
    """
    if name in ("Draining", "draining"):
        from reuseport import notice

        return getattr(notice, name)
    if name == "only_one":
        from reuseport import exclusion

        return exclusion.only_one
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
