"""Setting logging up in a process: by the flags, or by the operator's own file."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from pathlib import Path
from typing import Any

from reuseport.errors import ConfigurationError
from reuseport.logs.lines import Place, formatter, label_records
from reuseport.settings.table import Settings

TRACE = 5
"""uvicorn's level below DEBUG."""


def configure(settings: Settings, place: Place) -> None:
    """Set up logging in this process. Raises ConfigurationError for a file that cannot be used."""
    label_records(place)
    logging.addLevelName(TRACE, "TRACE")
    try:
        if settings.log_config is None:
            logging.config.dictConfig(_default(settings))
        else:
            _apply_file(settings.log_config)
    except (ValueError, TypeError, AttributeError, ImportError, KeyError, OSError, RuntimeError) as error:
        # What dictConfig and fileConfig raise for a configuration; the cause tells more than they do.
        name = settings.log_config or "--log-file, --access-log-file"
        raise ConfigurationError(
            f"logging cannot be set up from {name}: {error.__cause__ or error}"
        ) from error
    # Libraries and applications that set up no handler fall back to this one: let their lines know the slot.
    logging.lastResort = logging.StreamHandler(sys.stderr)
    logging.lastResort.setLevel(logging.WARNING)
    logging.lastResort.setFormatter(formatter(settings))


def _default(settings: Settings) -> dict[str, Any]:
    level = (settings.log_level or "info").upper()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": lambda: formatter(settings)}},
        "handlers": {
            "default": _handler(settings.log_file, "ext://sys.stderr"),
            "access": _handler(settings.access_log_file, "ext://sys.stdout"),
        },
        "loggers": {
            "reuseport": {"handlers": ["default"], "level": level, "propagate": False},
            "uvicorn": {"handlers": ["default"], "level": level, "propagate": False},
            "uvicorn.error": {"level": level},
            "uvicorn.access": {"handlers": ["access"], "level": level, "propagate": False},
        },
    }


def _handler(path: str | None, stream: str) -> dict[str, Any]:
    if path is None:
        return {"class": "logging.StreamHandler", "formatter": "line", "stream": stream}
    return {"class": "logging.FileHandler", "formatter": "line", "filename": path}


def _apply_file(path: str) -> None:
    """What uvicorn does with --log-config, so that launcher and workers agree."""
    if path.endswith(".json"):
        logging.config.dictConfig(json.loads(Path(path).read_text(encoding="utf-8")))
    elif path.endswith((".yaml", ".yml")):
        import yaml

        logging.config.dictConfig(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    else:
        logging.config.fileConfig(path, disable_existing_loggers=False)
