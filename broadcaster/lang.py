"""The two languages people read: Vietnamese first, English with ``--lang en``.

A sentence shown to a person is written once, in both languages side by side, as a `Said`. The edge (CLI, reports) picks one. Code,
JSON keys and logs stay English.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Literal, NamedTuple

Lang = Literal["vi", "en"]

_current: ContextVar[Lang] = ContextVar("lang", default="vi")


class Said(NamedTuple):
    """One sentence in both languages; `str()` gives it in the current one."""

    vi: str
    en: str

    def __str__(self) -> str:
        return self.en if _current.get() == "en" else self.vi


def say(vi: str, en: str) -> str:
    """Return the sentence in the current language."""
    return en if _current.get() == "en" else vi


def speak(lang: Lang) -> None:
    """Set the language of this process (or task)."""
    _current.set(lang)


def spoken() -> Lang:
    """Return the current language."""
    return _current.get()
