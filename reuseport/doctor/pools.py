"""Has the application imported in a process of its own, which looks for pools (worker/pools.py)."""

from __future__ import annotations

from reuseport.doctor.facts import Known, Pool, Unknown
from reuseport.errors import ReuseportError
from reuseport.launcher.apart import ask_apart
from reuseport.launcher.execution import refuse_what_does_not_fit
from reuseport.launcher.host.identity import identity_of
from reuseport.messages import TO_DOCTOR, Failed, Found
from reuseport.packets import ViolationError
from reuseport.printable import printable
from reuseport.settings.table import Settings

MOST_POOLS = 16
MOST_NAME = 60


def pools_of(settings: Settings) -> Known[tuple[Pool, ...]]:
    """What one worker may open, as far as it is made at import."""
    try:
        refuse_what_does_not_fit(settings)
        said, how = ask_apart("reuseport.worker.pools", settings, TO_DOCTOR, identity_of(settings))
    except ReuseportError as error:
        return Unknown(str(error))
    except TimeoutError as error:
        return Unknown(f"{settings.app} does not import: it takes {error} (--startup-timeout)")
    except ViolationError as error:
        return Unknown(f"{settings.app} does not import: {error}")
    match said[0] if said else None:
        case Found(names, most):
            pairs = zip(names[:MOST_POOLS], most, strict=False)
            return tuple(Pool(printable(name[:MOST_NAME]), number) for name, number in pairs)
        case Failed(_, text):
            last = text.strip().rpartition("\n")[2]
            return Unknown(
                f"{settings.app} does not import: {last}; reuseport check {settings.app} has it all"
            )
        case None:
            return Unknown(f"{settings.app} does not import: the {how}")
