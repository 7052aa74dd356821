"""Structured logs that tell a campaign's story and leak nothing: keys on an allow-list, digit runs masked."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import structlog

ALLOWED = frozenset(
    {
        "accepted", "action", "backlog", "bind", "campaign", "carrier", "carriers", "cause", "count", "delivered", "epoch", "error",
        "event", "failed", "given_up", "lanes", "level", "limit_tps", "logger", "messages", "parts", "percent", "rate_tps", "reason",
        "recipients", "refused", "seconds", "starts", "state", "suppressed", "timestamp", "uncertain", "waiting",
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


_listeners: list[Callable[[Mapping[str, Any]], None]] = []


@contextmanager
def heard_by(listener: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """Have the listener called with every event that may be logged, keys and digits as they leave; in the thread that logs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _pass_on(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for listener in _listeners:
        listener(event)
    return event


class _Lossy:
    """A stream that loses what it cannot write: a full disk must not break whoever says something about it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(level: str, form: str) -> None:
    """Send logs to stderr as ``text`` or ``json`` lines; libraries' own loggers are held at warning."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("smpp").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _allow,
            _mask,
            _pass_on,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lossy(sys.stderr))),
        cache_logger_on_first_use=True,
    )
