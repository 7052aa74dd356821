"""Read the moments of a carrier's export, in bulk and in every form that exports have them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final

BAD_TIME: Final = -1
"""What stands for a moment that cannot be read."""

_LOCAL_OFFSET_S: Final = 7 * 3600
"""Asia/Ho_Chi_Minh since 1975."""
_EARLIEST_S: Final = 946_684_800
_LATEST_S: Final = 4_102_444_800
_MAX_REMEMBERED: Final = 100_000
_MINUTE_CHARS: Final = 16

_ISO: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)", re.ASCII)
_DAY_FIRST: Final = re.compile(r"(\d\d)([/.-])(\d\d)\2(\d{4})[T ](\d\d):(\d\d)", re.ASCII)
_REST: Final = re.compile(r"(?::([0-5]\d)(?:[.,]\d{1,9})?)?(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?", re.ASCII)
_OFFSET: Final = re.compile(r"([+-])(\d\d):?(\d\d)", re.ASCII)
_LOOSE: Final = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})[T ]+(\d{1,2}):(\d\d)(?::([0-5]\d))?", re.ASCII)
_CLOCK_FIRST: Final = re.compile(r"(\d{1,2}):(\d\d)(?::([0-5]\d))?[T ]+(\d{1,2})([/.-])(\d{1,2})\5(\d{4})", re.ASCII)
_HALF_DAY: Final = re.compile(r"(.*\D)(0?[1-9]|1[0-2])(:\d\d(?::\d\d)?)\s*(AM|PM|SA|CH)", re.ASCII | re.IGNORECASE)
"""Hours of half a day, in English or Vietnamese: SA is the morning, CH the afternoon."""
_COMPACT: Final = re.compile(r"(20\d\d)(\d\d)(\d\d)(\d\d)(\d\d)([0-5]\d)", re.ASCII)
_DIGITS: Final = re.compile(r"\d{9,10}", re.ASCII)
_MILLISECONDS: Final = re.compile(r"\d{12,13}", re.ASCII)
_SERIAL: Final = re.compile(r"\d{5}\.\d{1,12}", re.ASCII)
_SERIAL_ZERO: Final = dt.datetime(1899, 12, 30, tzinfo=dt.UTC)
"""Day 0 of spreadsheets."""


class Moments:
    """Read moments of one file, without an offset as local time; remembers what it read."""

    def __init__(self) -> None:
        self._minutes, self._rests = _Minutes(), _Rests()

    def read_many(self, texts: Sequence[str]) -> list[int]:
        """Return seconds since 1970 (UTC) for each text, `BAD_TIME` where it is no moment between 2000 and 2100.

        Reads ISO 8601 with or without seconds and offset, days first (``31/01/2026 08:15``, ``08:15:00 31/1/2026``,
        ``31/1/2026 8:15 CH``), fourteen digits (``20260131081500``), seconds or milliseconds since 1970, and a spreadsheet's serial
        day with a fraction.
        """
        minutes, rests = self._minutes, self._rests
        try:
            seen = [minutes[text[:_MINUTE_CHARS]] + rests[text[_MINUTE_CHARS:]] for text in texts]
            if not seen or (min(seen) >= _EARLIEST_S and max(seen) < _LATEST_S):
                return seen
        except ValueError:
            pass
        return [self.read(text) for text in texts]

    def read(self, text: str) -> int:
        """Return seconds since 1970 (UTC), or `BAD_TIME`; see `read_many`."""
        text = text.strip()
        try:
            seconds = self._minutes[text[:_MINUTE_CHARS]] + self._rests[text[_MINUTE_CHARS:]]
        except ValueError:
            seconds = _loose(text)
        return seconds if _EARLIEST_S <= seconds < _LATEST_S else BAD_TIME


class _Minutes(dict[str, int]):
    """Seconds since 1970 of a minute taken as UTC."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        if match := _ISO.fullmatch(text):
            year, month, day, hour, minute = map(int, match.groups())
        elif match := _DAY_FIRST.fullmatch(text):
            day, month, year, hour, minute = map(int, match.group(1, 3, 4, 5, 6))
        else:
            raise ValueError
        self[text] = value = _utc_s(year, month, day, hour, minute)
        return value


class _Rests(dict[str, int]):
    """Seconds to add for what follows the minute: seconds and offset; without an offset, local time is meant."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        match = _REST.fullmatch(text)
        if not match:
            raise ValueError
        self[text] = value = int(match[1] or 0) - _offset_s(match[2])
        return value


def _offset_s(text: str | None) -> int:
    if not text:
        return _LOCAL_OFFSET_S
    match = _OFFSET.fullmatch(text)
    if not match:
        return 0
    seconds = int(match[2]) * 3600 + int(match[3]) * 60
    return -seconds if match[1] == "-" else seconds


def _utc_s(year: int, month: int, day: int, hour: int, minute: int, second: int = 0) -> int:
    return int(dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC).timestamp())


def _loose(text: str) -> int:
    """Read the rarer forms; they are not remembered, since each text is another one."""
    if half := _HALF_DAY.fullmatch(text):
        hour = int(half[2]) % 12 + (12 if half[4].upper() in ("PM", "CH") else 0)
        text = f"{half[1]}{hour:02d}{half[3]}"
    try:
        if _DIGITS.fullmatch(text):
            return int(text)
        if _MILLISECONDS.fullmatch(text):
            return int(text) // 1000
        if _SERIAL.fullmatch(text):
            return round((_SERIAL_ZERO + dt.timedelta(days=float(text))).timestamp()) - _LOCAL_OFFSET_S
        if match := _COMPACT.fullmatch(text):
            return _utc_s(*map(int, match.groups())) - _LOCAL_OFFSET_S
        if match := _LOOSE.fullmatch(text):
            day, month, year, hour, minute, second = (int(group or 0) for group in match.group(1, 3, 4, 5, 6, 7))
        elif match := _CLOCK_FIRST.fullmatch(text):
            hour, minute, second, day, month, year = (int(group or 0) for group in match.group(1, 2, 3, 4, 6, 7))
        else:
            return BAD_TIME
        return _utc_s(year, month, day, hour, minute, second) - _LOCAL_OFFSET_S
    except (ValueError, OverflowError):
        return BAD_TIME
