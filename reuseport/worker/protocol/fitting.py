"""Which uvicorn fits: its protocols are ours in part, so the next release can change what we rely on.

The bounds are those of pyproject.toml. Within them a release is a tested one; beyond them nobody knows, and a
request that is answered wrongly would be the worst way to find out.
"""

from __future__ import annotations

import re

FROM, BELOW = (0, 54), (0, 55)
"""uvicorn's versions, by their first two numbers."""


def misfit(version: str) -> str | None:
    """Why this uvicorn cannot serve here, and what to do about it; None for one that can."""
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is not None and FROM <= (int(found[1]), int(found[2])) < BELOW:
        return None
    wanted = f"uvicorn>={_said(FROM)},<{_said(BELOW)}"
    return (
        f"uvicorn {version} is installed, and this release of reuseport is tested with {wanted}: "
        f"pip install '{wanted}', or upgrade reuseport"
    )


def _said(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
