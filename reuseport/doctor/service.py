"""What systemd knows of us: its release, and the units that start reuseport. Asked of systemctl(1)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from reuseport.doctor.facts import Known, Systemd, Unit, Unknown

PATIENCE = 5.0
"""Seconds for each question; it waits for a bus that may not answer."""
_SHOWN = "--property=Id,Type,ExecStart,TimeoutStopUSec,LimitNOFILE"
_SPANS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "month": 2629800.0,
    "y": 31557600.0,
}
"""systemd.time(7), as systemctl writes them."""


def systemd(root: Path = Path("/")) -> Known[Systemd]:
    """Of this host; version 0 where it is not the service manager (sd_booted(3))."""
    if not (root / "run/systemd/system").is_dir():
        return Systemd(0)
    program = shutil.which("systemctl")
    if program is None:
        return Unknown("systemd runs here, and there is no systemctl to ask")
    try:
        version = _said(program, "--version")
        shown = _said(program, "show", _SHOWN, "*.service")
    except (OSError, subprocess.SubprocessError) as error:
        return Unknown(f"systemctl does not answer: {error}")
    found = re.match(r"systemd (\d+)", version)
    if found is None:
        return Unknown(f"systemctl --version says {version[:60]!r}")
    return Systemd(int(found[1]), tuple(units(shown)))


def units(shown: str) -> Iterator[Unit]:
    """Those in what `systemctl show` has printed that start reuseport."""
    for block in shown.split("\n\n"):
        said = dict(line.partition("=")[::2] for line in block.splitlines())
        if not re.search(r"\breuseport\b", said.get("ExecStart", "")):
            continue
        files = said.get("LimitNOFILE", "")
        yield Unit(
            said.get("Id", ""),
            said.get("Type", ""),
            span(said.get("TimeoutStopUSec", "infinity")),
            int(files) if files.isdecimal() else None,
        )


def span(text: str) -> float | None:
    """Seconds of "1min 30s"; None: for ever, or it is no time."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]+)", text)
    if not parts or any(unit not in _SPANS for _, unit in parts):
        return None
    return sum(float(number) * _SPANS[unit] for number, unit in parts)


def _said(program: str, *arguments: str) -> str:
    return subprocess.run(
        [program, "--no-pager", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout
