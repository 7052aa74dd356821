"""Structured logs that tell a campaign's story and leak nothing: keys on an allow-list, digit runs masked."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

ALLOWED = frozenset(
    {
        "action", "backlog", "campaign", "carrier", "carriers", "count", "epoch", "error", "event", "level", "limit_tps",
        "lanes", "logger", "messages", "parts", "rate_tps", "reason", "recipients", "seconds", "starts", "state", "timestamp",
    }
)  # fmt: skip
"""Keys that may appear; anything else is dropped and named in `dropped`."""

_DIGITS = re.compile(r"\d{9,15}")


def _allow(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    extra = sorted(event.keys() - ALLOWED)
    for key in extra:
        del event[key]
    if extra:
        event["dropped"] = extra
    return event


def mask(text: str) -> str:
    """Return the text with every run of 9 to 15 digits masked, as a last net under the allow-list."""
    return _DIGITS.sub(lambda run: run[0][:4] + "****" + run[0][-3:], text)


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and key != "timestamp":
            event[key] = mask(value)
    return event


def configure(level: str, form: str) -> None:
    """Send logs to stderr as ``text`` or ``json`` lines; libraries' own loggers are held at warning."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("smpp").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _allow,
            _mask,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
