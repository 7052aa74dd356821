"""The review as a table for Excel: one row for each carrier, commune and outcome."""

from __future__ import annotations

import csv
import io

from broadcaster.lang import say
from broadcaster.review.data import Review
from broadcaster.review.words import outcome_key, outcome_name

BYTE_ORDER_MARK = "\ufeff"
"""Tells Excel that the file is UTF-8."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def render(review: Review) -> str:
    """Return the CSV; write it as UTF-8 with its line ends untouched (``newline=""``)."""
    carriers = {item.code: item.name for item in review.carriers}
    areas = {item.code: item.name for item in review.areas}
    file = io.StringIO()
    file.write(BYTE_ORDER_MARK)
    table = csv.writer(file)
    table.writerow(
        [
            say("Chiến dịch", "Campaign"),
            say("Môi trường", "Environment"),
            say("Mã nhà mạng", "Carrier code"),
            say("Nhà mạng", "Carrier"),
            say("Mã xã", "Commune code"),
            say("Xã, phường, đặc khu", "Commune"),
            say("Mã kết quả", "Outcome code"),
            say("Kết quả", "Outcome"),
            say("Số thuê bao", "Subscribers"),
            say("Số phần tin", "Parts"),
        ]
    )
    for row in review.rows:
        texts = (
            review.campaign.name,
            review.campaign.environment.value,
            row.carrier,
            carriers[row.carrier],
            row.area or "",
            areas[row.area] if row.area else say("không rõ trạm", "unknown cell"),
            outcome_key(row.state, row.exclusion),
            outcome_name(row.state, row.exclusion),
        )
        table.writerow([*map(formula_safe, texts), row.messages, row.parts])
    return file.getvalue()


def formula_safe(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run as a formula."""
    return "'" + text if text.startswith(_FORMULA_STARTS) else text
