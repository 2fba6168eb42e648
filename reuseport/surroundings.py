"""What the operator gave the launcher's interpreter, and what of it an interpreter of ours imports from.

An application is to find sys.path and sys.argv as under uvicorn, the current directory first. The launcher is
not: it may be root, and whoever can write there could be whatever it imports next. Nor is a worker, until it
begins with the application: a project may have a platform.py of its own.

Imported before anything else of ours, so it imports only what every interpreter has imported already, and not
even __future__, which is a file like any other.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "REUSEPORT_SURROUNDINGS"
"""How they come to a process that is executed. It is gone from there before anybody else looks."""

BACK = "REUSEPORT_BACK"
"""The descriptor of the directory to go back to, for a process that is executed in another one."""

LATER = "later"
"""Instead of an agreement, for a mold that begins before there is one: it comes as the first packet."""

AGAIN = "REUSEPORT_BEGUN_AGAIN"
"""What a program that executes itself once more hands over: what it was given, and PYTHONPATH."""

REQUIRED = ("click", "psutil", "starlette", "uvicorn")
"""What we cannot do without, and by which it is known where we are installed."""


class Surroundings:
    """Of the launcher, when it was started.

    `path`: sys.path, all absolute, the current directory where Python had put it. `argv`: sys.argv. `place`:
    the current directory without a link in its name; `directory`: as the operator calls it ($PWD), perhaps by
    a link that leads elsewhere one day. Both are empty if it had been removed. `companions`: threads of
    somebody else run in each interpreter that is begun here.
    """

    __slots__ = ("argv", "companions", "directory", "path", "place")

    def __init__(
        self, path: list[str], argv: list[str], directory: str, place: str, companions: bool = False
    ) -> None:
        self.path = path
        self.argv = argv
        self.directory = directory
        self.place = place
        self.companions = companions

    @classmethod
    def here(cls) -> "Surroundings":
        """Those of this process."""
        try:
            place = os.getcwd()
        except FileNotFoundError:
            return cls(list(filter(os.path.isabs, sys.path)), list(sys.argv), "", "")
        path = [os.path.join(place, entry) if entry else place for entry in sys.path]
        return cls(path, list(sys.argv), _called(place), place)

    def for_application(self, app_dir: str, place: str) -> list[str]:
        """sys.path as under uvicorn, which puts --app-dir first. `place`: where the current directory is now.

        What lay in the directory goes along: when its link was turned, nothing of the old version is found.
        """
        return [app_dir or place, *(self._moved(entry, place) for entry in self.path)]

    def _moved(self, entry: str, place: str) -> str:
        inside = self.place and (entry == self.place or entry.startswith(f"{self.place}/"))
        return place + entry.removeprefix(self.place) if inside else entry

    def encoded(self) -> dict[str, str]:
        """The variable for a process that is executed, which begins by importing from where we do."""
        given = {name: getattr(self, name) for name in self.__slots__}
        # A literal: the one form that an interpreter reads before it can import anything.
        return {VARIABLE: ascii({"own": sys.path, "home": _home(), "given": given})}


def _called(place: str) -> str:
    """The current directory by the name in $PWD, if that leads here."""
    name = os.environ.get("PWD", "")
    try:
        return name if os.path.isabs(name) and os.path.samefile(name, place) else place
    except OSError:
        return place


def is_frozen() -> bool:
    """Whether sys.executable is our program (PyInstaller): it knows neither -c nor Python's other flags."""
    return bool(getattr(sys, "frozen", False))


def handed_over() -> "dict[str, Any] | None":
    """What `encoded` wrote, if such a program has executed itself as a worker."""
    if not is_frozen() or VARIABLE not in os.environ:
        return None
    import ast

    literal: dict[str, Any] = ast.literal_eval(os.environ[VARIABLE])
    return literal


def flags() -> "list[str]":
    """Those of this interpreter (-O, -W, -I, -X …): what multiprocessing hands on, and the other -X."""
    import subprocess

    found: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    known = {found[at + 1].partition("=")[0] for at, flag in enumerate(found[:-1]) if flag == "-X"}
    for name, value in sys._xoptions.items():
        if name not in known:
            found += ["-X", name if value is True else f"{name}={value}"]
    return found


given = Surroundings.here()
"""The launcher's, also in what it has executed: `worker.afresh` puts them here."""


def begin_alone() -> Surroundings:
    """What this program was given; where threads of somebody else run in it, it is executed again first.

    Who instruments applications (opentelemetry-instrument, ddtrace-run, newrelic-admin) has Python run a
    sitecustomize from PYTHONPATH. It is meant for the workers, which find it as we did; here its threads
    would get the launcher's signals, which only the threads that we know hold back (signal(7)), and end it.
    """
    before = os.environ.pop(AGAIN, None)
    if before is not None:
        import ast

        told: dict[str, Any] = ast.literal_eval(before)
        os.environ.update(told["named"])
        return Surroundings(**told["given"])
    if not is_frozen() and not _is_alone():
        _begin_again()
    return given


def _begin_again() -> None:
    # As it came to us: some take themselves out, so that what they start themselves is not instrumented.
    named = _first_environment().get("PYTHONPATH", "")
    needed = {*own(given), _home()}
    kept = [entry for entry in map(os.path.abspath, filter(None, named.split(os.pathsep))) if entry in needed]
    told = {
        "given": {**{name: getattr(given, name) for name in given.__slots__}, "companions": True},
        "named": {"PYTHONPATH": named} if named else {},
    }
    environment = {**os.environ, AGAIN: ascii(told), "PYTHONPATH": os.pathsep.join(kept)}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - as it began


def _is_alone() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return True  # without /proc nobody knows


def _first_environment() -> dict[str, str]:
    """As it was when this program was executed (proc_pid_environ(5))."""
    with open("/proc/self/environ", "rb") as file:
        pairs = (os.fsdecode(pair).partition("=") for pair in file.read().split(b"\0") if pair)
        return {name: value for name, _, value in pairs}


def restrict() -> None:
    """From now on import only from what we consist of: the standard library, and where we are installed.

    Not from the current directory (python -m), PYTHONPATH, or what an editable install has added.
    """
    sys.path[:] = filter(_is_standard, given.path)  # for what `own` imports itself
    sys.path[:] = own(given)


def own(given: Surroundings) -> list[str]:
    """Those entries of its path, in its order.

    Where something that we require lies nowhere else, others stay: a bundle's, of which the application is a
    part; then those of PYTHONPATH into which packages were installed, by pip --target or Bazel; then wherever
    what is still missing lies.
    """
    entries = list(dict.fromkeys(given.path))
    installed, named = _installed(), _named(given)
    kept = {entry for entry in entries if entry in installed or _is_standard(entry)}
    if is_frozen() or _missing(entries, kept):
        kept.update(entry for entry in entries if os.path.normpath(entry) not in named)
    if _missing(entries, kept):
        kept.update(filter(_has_distributions, entries))
    for name in _missing(entries, kept):
        kept.update([entry for entry in entries if _finds([entry], name)][:1])
    return [entry for entry in entries if entry in kept]


def _missing(entries: list[str], kept: set[str]) -> list[str]:
    path = [entry for entry in entries if entry in kept]
    return [name for name in REQUIRED if not _finds(path, name)]


def _has_distributions(entry: str) -> bool:
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(entry))
    except OSError:
        return False  # an archive, or not there


def _finds(path: list[str], name: str) -> bool:
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec(name, path)
    # Without a file it is only a directory of that name (a namespace package).
    return spec is not None and spec.has_location


def is_own(entry: str) -> bool:
    """Whether every interpreter like this one has it on its path, before anybody has added anything."""
    return _is_standard(entry) or entry in _installed()


def _is_standard(entry: str) -> bool:
    binary = os.path.basename(entry) == "lib-dynload" and entry.startswith(sys.base_exec_prefix)
    return entry == os.path.dirname(os.__file__) or binary


def _installed() -> set[str]:
    """Where packages are installed for this interpreter."""
    import site

    found = set(site.getsitepackages())
    # Whose? HOME may still be that of who was here before: su(1), sudo -E.
    user = site.getusersitepackages() if site.ENABLE_USER_SITE else ""
    if os.path.isdir(user) and os.stat(user).st_uid == os.geteuid():
        found.add(user)
    return found


def _named(given: Surroundings) -> set[str]:
    """What is on the path because of where and how we were started: the application's, most often."""
    script = os.path.dirname(os.path.realpath(given.argv[0])) if given.argv else ""
    variable = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    named = (given.place, script, *variable.split(os.pathsep))
    return {os.path.normpath(os.path.join(given.place, entry)) for entry in named}


def _home() -> str:
    """The directory, or the archive, in which our package lies."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
