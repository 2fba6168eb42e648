"""What a worker hands to uvicorn of the settings."""

import math
from typing import Any

from reuseport.settings.table import UVICORN_SETTINGS, Settings

# Not for uvicorn.Config in a worker: the launcher binds, watches, counts and logs in its place.
_LAUNCHER_DOES = frozenset(
    {
        *("app", "app_dir", "workers", "log_config", "timeout_worker_healthcheck"),
        *("host", "port", "uds", "fd", "limit_max_requests", "limit_max_requests_jitter"),
        *("reload", "reload_dirs", "reload_includes", "reload_excludes", "reload_delay"),
    }
)


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of uvicorn.Config in a worker: uvicorn's own settings, except what
    the launcher does in its place (application, addresses, workers, reload, limits, logging).
    """
    options = {name: getattr(settings, name) for name in UVICORN_SETTINGS - _LAUNCHER_DOES}
    # RFC 9110 §5.5: white space around a field value is not part of it.
    options["headers"] = [
        (name, value.strip(" \t")) for name, _, value in (h.partition(":") for h in settings.headers)
    ]
    # uvicorn takes whole seconds; rounding down would cut a request short, and 0 at once.
    options["timeout_graceful_shutdown"] = math.ceil(settings.graceful_timeout)
    return options
