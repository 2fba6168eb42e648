"""On PYTHONPATH of a launcher: what it imports, and a disk on which a module is not what it should be.

Python imports this as it starts. The launcher appends the name of each module that it imports from then on to
$TEST_AUDIT, and while there is a file $TEST_BROKEN, the module named in it cannot be imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class _Broken:
    """The finder that is asked first."""

    def __init__(self, note: Path) -> None:
        self._note = note

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if self._note.exists() and name == self._note.read_text():
            raise ImportError(f"{name} is half installed")
        return None


def _note_imports(path: str) -> None:
    launcher = os.getpid()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "import" and os.getpid() == launcher:
            note = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(note, f"{arguments[0]}\n".encode())
            os.close(note)

    sys.addaudithook(hook)


# Workers inherit the variables.
if os.environ.setdefault("TEST_AUDITED", str(os.getpid())) == str(os.getpid()):
    if "TEST_AUDIT" in os.environ:
        _note_imports(os.environ["TEST_AUDIT"])
    if "TEST_BROKEN" in os.environ:
        sys.meta_path.insert(0, _Broken(Path(os.environ["TEST_BROKEN"])))
