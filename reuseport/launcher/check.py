"""`reuseport check`: does the application import? Asked in a throw-away process, never touching the port."""

from __future__ import annotations

from reuseport import logs
from reuseport.errors import ApplicationError, ConfigurationError
from reuseport.kernel.addresses import parse_all
from reuseport.launcher.apart import ask_apart
from reuseport.launcher.execution import refuse_what_does_not_fit
from reuseport.launcher.host.identity import identity_of
from reuseport.messages import TO_LAUNCHER, Failed, Ready
from reuseport.packets import ViolationError
from reuseport.printable import paragraph
from reuseport.settings.table import Settings


def check(settings: Settings) -> str:
    """One line that says what was checked.

    Raises ConfigurationError when the settings or the name of the application are wrong, ApplicationError
    with the traceback when the application does not import within --startup-timeout.
    """
    parse_all(settings.binds())
    refuse_what_does_not_fit(settings)
    # Here first, as when serving: the log files are opened by us and handed to the workers' user.
    logs.configure_launcher(settings, logs.Place("check"))
    try:
        said, how = ask_apart("reuseport.worker.check", settings, TO_LAUNCHER, identity_of(settings))
    except TimeoutError as error:
        text = f"{settings.app} did not import within {settings.startup_timeout:g} s"
        raise ApplicationError(f"{text}; mend it or raise --startup-timeout") from error
    except ViolationError as error:
        text = f"{settings.app} writes to a descriptor that is not its own: {error}"
        raise ApplicationError(paragraph(text, indent="")) from error
    match next((message for message in said if isinstance(message, Ready | Failed)), None):
        case Ready():
            return f"{settings.app} imports, the configuration is valid"
        case Failed("operator", text):
            raise ConfigurationError(paragraph(text))
        case Failed(_, text):
            raise ApplicationError(paragraph(text, indent=""))
        case None:
            raise ApplicationError(f"{settings.app} does not import: the {how}")
