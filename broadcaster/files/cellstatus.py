"""What an inventory's words for the state of a cell mean: on the air, off it, or neither for sure."""

from __future__ import annotations

import re
from typing import Final

from broadcaster.text.fold import fold_key, nfc

_OFF_AIR: Final = re.compile(
    r"\b(?:off|inactive|ngung|ngat|huy|thao do|(?:chua|khong|khong con) (?:hoat dong|phat song|su dung))\b", re.ASCII
)
_STOPPED: Final = re.compile(r"\b(?:dừng|(?<!sử )(?<!su )(?<!đang )(?<!dang )dung(?! chung))\b")
"""“Stopped”: accents alone tell it from *sử dụng* and *đang dùng*, “in use”."""
_ON_AIR: Final = re.compile(
    r"\b(?:on|ok|active|activated|live|in service|hoat dong|phat song|su dung|dang dung|dung chung|tot|binh thuong)\b", re.ASCII
)


def on_air(status: str) -> bool | None:
    """Tell whether a cell of this status is on the air; None where the words say neither way, such as *mất liên lạc*."""
    key = fold_key(status)
    if _OFF_AIR.search(key) or _STOPPED.search(nfc(status).casefold()):
        return False
    return True if _ON_AIR.search(key) else None
