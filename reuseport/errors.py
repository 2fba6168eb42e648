"""The errors that end a command, typed by who must act.

Every message names the fix; every one is raised `from` its cause where there is one.
"""


class ReuseportError(Exception):
    """What reuseport raises on purpose. `exit_code` is the process status the command ends with."""

    exit_code = 1


class ConfigurationError(ReuseportError):
    """The operator must act: a flag, a key, an address or a file is wrong. Nothing was started."""

    exit_code = 2


class ApplicationError(ReuseportError):
    """The application must be mended: no worker ever became ready. Holds the worker's traceback."""

    exit_code = 3


class HostError(ReuseportError):
    """The host must be changed: the kernel or a resource limit refused something we need."""

    exit_code = 2


class UndoneError(ReuseportError):
    """The running server did not do what it was asked for, or not to its end. Says why."""

    exit_code = 1


class AbsentError(ReuseportError):
    """The operator must start the server, or say where it is: none was found that answers."""

    exit_code = 4


class OverdueError(ReuseportError):
    """What was asked for goes on, but took longer than the operator wanted to wait."""

    exit_code = 5
