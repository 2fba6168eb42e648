"""Files that lie beside our code: most often in a directory, perhaps in an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def beside(name: str) -> Traversable:
    """The file or folder of this name."""
    here = Path(__file__).with_name(name)
    if here.exists():
        return here
    # With zipfile it takes 0.7 MiB, in which others need not have it.
    from importlib.resources import files

    return files("reuseport.admin") / name
