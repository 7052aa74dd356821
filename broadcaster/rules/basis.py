"""The legal basis of personal data taken in: number and date of the written request (Telecommunications Law 24/2023, Art. 6.4)."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from broadcaster.errors import ConfigurationError
from broadcaster.lang import Said
from broadcaster.model import TIMEZONE
from broadcaster.rules.numbers import holds_number

_NUMBER: Final = re.compile(r"(?=.*\d)[\w./ -]{1,60}")
_EARLIEST: Final = dt.date(2019, 6, 12)
"""The day of the directive."""


class Basis(NamedTuple):
    """The written request that a carrier answers with its data."""

    number: str
    date: dt.date


def check_basis(basis: Basis, now: dt.datetime) -> None:
    """Raise `ConfigurationError` when `basis` cannot be the number and date of a document signed by `now`."""
    if holds_number(basis.number):
        raise ConfigurationError(
            Said(
                "Trong căn cứ pháp lý có dãy từ 9 chữ số trở lên, có thể là số máy.",
                "A row of nine digits or more stands in the legal basis; it may be a phone number.",
            ),
            Said("Bỏ số máy, chỉ ghi số và ký hiệu của văn bản.", "Leave the phone number out; give the document's number."),
        )
    if not _NUMBER.fullmatch(basis.number):
        raise ConfigurationError(
            Said(f"Số văn bản không hợp lệ: {basis.number!r}", f"Not the number of a document: {basis.number!r}"),
            Said("Ghi số và ký hiệu, ví dụ 12/CV-SKHCN.", "Give its number and symbol, such as 12/CV-SKHCN."),
        )
    if not _EARLIEST <= basis.date <= now.astimezone(ZoneInfo(TIMEZONE)).date():
        raise ConfigurationError(
            Said(f"Ngày văn bản không hợp lệ: {basis.date:%d-%m-%Y}", f"Not the date of a request: {basis.date}"),
            Said("Ghi ngày ký, không sau hôm nay.", "Give the day it was signed, not after today."),
        )
