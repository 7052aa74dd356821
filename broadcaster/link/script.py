"""Values of a simulated carrier's TOML script: each is read by a function that returns it or says what was expected instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from broadcaster.lang import Said

MOST_STATUS: Final = 0xFFFF_FFFF
MOST_DELAY_MS: Final = 3_600_000

Read = Callable[[Any], Any]


class IdForm(StrEnum):
    """How a message id is spelled."""

    DECIMAL = "decimal"
    HEX = "hex"
    UPPER = "upper"
    """Hexadecimal in capitals."""
    PADDED = "padded"
    UUID = "uuid"
    LONG = "long"
    """Seventy digits, where SMPP 3.4 allows 64."""


class SpanMs(NamedTuple):
    """A shortest and a longest delay."""

    least: int
    most: int

    def at(self, chance: float) -> float:
        """Return the delay in seconds for `chance` in [0, 1)."""
        return (self.least + (self.most - self.least) * chance) / 1000


class WrongValueError(ValueError):
    """A value that is not what its key asks for."""

    def __init__(self, expected: Said) -> None:
        super().__init__(expected)
        self.expected = expected


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Read a whole number within bounds."""

    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise WrongValueError(
                Said(vi=f"phải là số nguyên từ {least} đến {most}", en=f"must be a whole number from {least} to {most}")
            )
        return value

    return read


def number(most: float, least: float = 0) -> Callable[[Any], float]:
    """Read a number within bounds."""

    def read(value: Any) -> float:
        if type(value) not in (int, float) or not least <= value <= most:
            raise WrongValueError(Said(vi=f"phải là số từ {least:g} đến {most:g}", en=f"must be a number from {least:g} to {most:g}"))
        return float(value)

    return read


def span(value: Any) -> SpanMs:
    """Read a pair of delays."""
    good = isinstance(value, list) and len(value) == 2 and all(type(end) is int for end in value)
    if not good or not 0 <= value[0] <= value[1] <= MOST_DELAY_MS:
        raise WrongValueError(
            Said(
                vi=f"phải là [ngắn nhất, dài nhất] tính bằng mili giây, từ 0 đến {MOST_DELAY_MS}",
                en=f"must be [shortest, longest] in milliseconds, from 0 to {MOST_DELAY_MS}",
            )
        )
    return SpanMs(*value)


def choice(allowed: Sequence[str]) -> Callable[[Any], str]:
    """Read one of the allowed words; members of a StrEnum are returned as such."""

    def read(value: Any) -> str:
        for word in allowed:
            if value == word and isinstance(value, str):
                return word
        listed = ", ".join(allowed)
        raise WrongValueError(Said(vi=f"phải là một trong: {listed}", en=f"must be one of: {listed}"))

    return read


def text(value: Any) -> str:
    """Read a text of one SMS."""
    if not isinstance(value, str) or not 0 < len(value) <= 70:
        raise WrongValueError(Said(vi="phải là chữ, từ 1 đến 70 ký tự", en="must be text, 1 to 70 characters"))
    return value


def ordinals(value: Any) -> tuple[int, ...]:
    """Read one ordinal or a list of them, counted from 1."""
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(type(each) is int and each > 0 for each in listed):
        raise WrongValueError(
            Said(vi="phải là số thứ tự (từ 1) hoặc danh sách số thứ tự", en="must be an ordinal (from 1) or a list of ordinals")
        )
    return tuple(listed)


SHARE: Final = number(1.0)
STATUS: Final = whole(1, MOST_STATUS)
SECONDS: Final = number(31_536_000)
