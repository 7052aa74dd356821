"""The link column of `campaign status`: why a carrier sends nothing now, the most telling reason first."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from broadcaster.cli.campaign_watch import _link
from broadcaster.flow.status import Progress
from broadcaster.lang import speak
from broadcaster.model import CarrierCode

SIX_MS = int(dt.datetime(2026, 1, 31, 6, tzinfo=dt.timezone(dt.timedelta(hours=7))).timestamp() * 1000)


def progress(**values: Any) -> Progress:
    counts = dict.fromkeys(
        ("messages", "parts", "excluded", "sent", "accepted", "delivered", "failed", "refused", "uncertain", "suppressed", "closed"),
        0,
    )
    common = {"carrier": CarrierCode("viettel"), "link": "bound", "reason": "", "left": 5}
    nothing = dict.fromkeys(("rate_tps", "limit_tps", "finish_ms", "halted"))
    return Progress(**{**counts, **common, **nothing, **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "đã kết nối"),
        ({"quota_used": "day"}, "hết hạn mức ngày"),
        ({"quota_used": "month"}, "hết hạn mức tháng"),
        ({"quota_used": "day", "closed_until_ms": SIX_MS}, "đóng đến 06:00:00 31-01-2026"),
        ({"quota_used": "day", "left": 0}, "đã kết nối"),
        ({"quota_used": "day", "link": "lost", "reason": "x"}, "mất kết nối: x; hết hạn mức ngày"),
        ({"quota_used": "day", "halted": "RINVSRCADR"}, "bị chặn: RINVSRCADR"),
        ({"quota_used": "day", "paused": "hẹn lại"}, "tạm ngừng: hẹn lại"),
    ],
)
def test_the_link_column_says_why_nothing_is_sent(values: dict[str, Any], words: str) -> None:
    speak("vi")
    assert _link(progress(**values)) == words
