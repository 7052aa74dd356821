"""The hours of a carrier card: windows as an operator writes them, and what is wrong with them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from broadcaster.lang import Said
from broadcaster.model import DailyWindow
from broadcaster.rules.order import parse_window

_NO_WINDOW: Final = Said(vi="phải là khung giờ dạng 02:00-03:00", en="must be a window such as 02:00-03:00")


def card_window(text: str) -> DailyWindow:
    """Return a window of a card. Raises `ValueError` carrying a `Said`, which shows how to write one across midnight."""
    try:
        return parse_window(text)
    except ValueError:
        raise ValueError(_across_midnight(text) or _NO_WINDOW) from None


def _across_midnight(text: str) -> Said | None:
    """Say as which two windows one across midnight is written; None when it is no such window."""
    opens, _, closes = text.partition("-")
    halves = (f"{opens}-24:00", f"00:00-{closes}")
    try:
        evening, morning = map(parse_window, halves)
    except ValueError:
        return None
    if evening.opens <= morning.closes:
        return None
    return Said(
        vi=f"khung giờ không được qua nửa đêm; ghi thành hai khung: {halves[0]} và {halves[1]}",
        en=f"a window cannot span midnight; write two windows: {halves[0]} and {halves[1]}",
    )


def cover_the_day(windows: Sequence[DailyWindow]) -> bool:
    """Tell whether no minute of the day is outside all windows."""
    covered = dt.time(0)
    for window in sorted(windows, key=lambda window: window.opens):
        if window.opens > covered:
            return False
        if window.closes == dt.time(0):
            return True
        covered = max(covered, window.closes)
    return False
