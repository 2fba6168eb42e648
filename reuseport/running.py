"""`run`: the script becomes the launcher.

It is replaced by a clean interpreter (execve(2)): a launcher must not have imported the application, nor what
lies beside it, and a script has. One process, one pid, for whoever started the script; signals, exit status
and descriptors need nobody who passes them on. What a script has after it never runs.

Workers find the application as the script would: its directory comes first, as --app-dir, unless another was
given, and what else it has put on sys.path goes along as PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Unpack

from reuseport import surroundings
from reuseport.errors import ConfigurationError
from reuseport.settings.keywords import Keywords, arguments, read
from reuseport.settings.precedence import load
from reuseport.settings.table import Settings


@dataclass(frozen=True, slots=True)
class Command:
    """What to execute, and the settings that it will find."""

    line: list[str]
    environment: dict[str, str]
    settings: Settings


def run(app: str | None = None, **settings: Unpack[Keywords]) -> NoReturn:
    """Be `python -m reuseport APP` with these settings from now on; never returns.

    Every setting is a keyword, by the name of its flag with `_` for `-`; durations in seconds or as "30s",
    sizes in bytes or as "512M"; None is as if it were not there. Keywords count before environment and file.
    Raises ConfigurationError for settings that cannot be served, and RuntimeError where no process may be
    replaced: in a worker that imports the script, in a running event loop, outside the main thread.
    """
    _refuse_here()
    made = command(app, settings)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(made.line[0], made.line, made.environment)  # noqa: S606 - our own interpreter


def command(app: str | None, keywords: Mapping[str, Any]) -> Command:
    """The command line that serves so, checked as it would check itself. Raises ConfigurationError."""
    if surroundings.is_frozen() or not sys.executable:
        raise ConfigurationError(
            "this program has no Python interpreter to start: call reuseport.__main__.main()"
        )
    if app is not None and not isinstance(app, str):
        raise ConfigurationError(f"APP is a name that workers import, not an object: {_name_of(app)}")
    given = dict(keywords)
    config = given.pop("config", None)
    config = None if config is None else os.fspath(config)
    values = read({"app": app, **given})
    settings = load(values, os.environ, Path(), config)
    line, variables = arguments(values)
    environment = {**os.environ, **variables, **_import_path()}
    if not settings.app_dir and (script := _directory_of_the_script()):
        environment["REUSEPORT_APP_DIR"] = script
    # -P: not even the launcher's first import may come from the current directory.
    interpreter = [sys.executable, *surroundings.flags(), "-P", "-m", "reuseport"]
    return Command([*interpreter, *line, *([f"--config={config}"] if config else [])], environment, settings)


def _refuse_here() -> None:
    if "REUSEPORT_SLOT" in os.environ or _name_of_main().partition(".")[0] == "reuseport":
        raise RuntimeError(
            "run() is called while a worker imports the application: put it under"
            " `if __name__ == '__main__':`, or into a script of its own"
        )
    if asyncio._get_running_loop() is not None:
        raise RuntimeError(
            "run() replaces this process, in which an event loop runs (a notebook?):"
            " `with reuseport.serving(…)` starts the server beside it"
        )
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("run() replaces the whole process: call it in the main thread, or use serving()")


def _name_of_main() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return "" if spec is None else str(spec.name)


def _name_of(application: object) -> str:
    """How to name an object instead, as far as that can be told."""
    for module in (sys.modules["__main__"], *list(sys.modules.values())):
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is application and isinstance(module, ModuleType):
                return f'say "{_importable(module)}:{name}"'
    return 'say "module:attribute"'


def _importable(module: ModuleType) -> str:
    if module.__name__ != "__main__":
        return module.__name__
    spec, file = getattr(module, "__spec__", None), getattr(module, "__file__", None)
    return str(spec.name) if spec is not None else Path(file).stem if file else "module"


def _directory_of_the_script() -> str:
    """Where the script lies; empty: there is none (-m, -c, a prompt), and the current directory counts.

    As Python itself has it: a link that is the script is followed, links on the way there are not. One of
    those may lead to the newest release, and elsewhere at the next reload.
    """
    main = sys.modules["__main__"]
    file: str | None = getattr(main, "__file__", None)
    if file is None or getattr(main, "__spec__", None) is not None:
        return ""
    if os.path.islink(file):  # noqa: PTH114
        file = os.path.join(os.path.dirname(file), os.readlink(file))  # noqa: PTH115, PTH118, PTH120
    return os.path.dirname(os.path.abspath(file))  # noqa: PTH100, PTH120 - pathlib would keep a `..`, or resolve


def _import_path() -> dict[str, str]:
    """What a fresh interpreter would not have by itself."""
    script = _directory_of_the_script()
    own = [entry for entry in sys.path if surroundings.is_own(entry)]
    entries = [
        entry
        for entry in dict.fromkeys(sys.path)
        if entry not in own and entry != script and os.path.isabs(entry) and os.path.exists(entry)  # noqa: PTH110, PTH117
    ]
    return {"PYTHONPATH": os.pathsep.join(entries)} if entries else {}
