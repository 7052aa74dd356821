"""Bring every spelling of a Vietnamese mobile number to one integer, or say why it is none.

The dated prefix table decides (files/prefixes.py reads it): the public metadata of phone-number libraries lag behind and know nothing
of the change from 11 to 10 digits on 15-09-2018.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from broadcaster.model import CarrierCode, DropReason, Msisdn

_COUNTRY: Final = 84_000_000_000
_SEPARATORS: Final = str.maketrans("", "", " \t\u00a0.-()")
_NATIONAL_DIGITS: Final = 9
_OLD_NATIONAL_DIGITS: Final = 10
_SHORT_CODE_DIGITS: Final = 6
_SERVICE_HEADS: Final = ("1800", "1900")
_FIXED_HEADS: Final = ("2", "67")
"""Area codes since 2017 begin with 2; 67 is the satellite service that left 0992 in 2018."""
_MACHINE_HEAD: Final = "1"
"""Devices (M2M) since 2019; nobody reads a text there."""

_NEW_HEADS: Final = dict(
    change.split(">")
    for change in (
        *("120>70", "121>79", "122>77", "126>76", "128>78"),
        *("123>83", "124>84", "125>85", "127>81", "129>82"),
        *("162>32", "163>33", "164>34", "165>35", "166>36", "167>37", "168>38", "169>39"),
        *("186>56", "188>58", "199>59"),
    )
)
"""Heads of the 11-digit numbers and what they became on 15-09-2018; the last seven digits stayed."""


_DATE: Final = re.compile(
    r"(?<!\d)(?:(?:0?[1-9]|[12]\d|3[01])([-.])(?:0?[1-9]|1[0-2])\1(?:19|20)\d\d|(?:19|20)\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))(?!\d)"
)
_SCIENTIFIC: Final = re.compile(r"\d(?:[.,]\d+)?[eE][+-]?\d+", re.ASCII)
_TEXT_FORMULA: Final = re.compile(r'="([^"]*)"')
"""How exporters keep a spreadsheet from eating a leading zero."""
_DIGIT_ROW: Final = re.compile(r"\d(?:[\s.()\-\u2010-\u2015]*\d){6,}")
_NINE_DIGITS: Final = re.compile(r"(?:\d[\s.()\-\u2010-\u2015]*){9}")


@dataclass(frozen=True, slots=True)
class Prefix:
    """One line of the prefix table: the digits after the trunk 0, and the account that reaches numbers under them."""

    digits: str
    operator: str
    """The brand on the SIM; a virtual operator differs from its host."""
    holder: CarrierCode
    valid_from: dt.date | None
    """None: allocated before the table begins (2018)."""


class NumberPlan:
    """Normalise numbers by one prefix table."""

    def __init__(self, prefixes: Iterable[Prefix]) -> None:
        self._holders = {head: prefix.holder for prefix in prefixes for head in _three_digit_heads(prefix.digits)}
        self._international = frozenset("84" + head for head in self._holders)
        self._national = frozenset("0" + head for head in self._holders)

    def normalise(self, raw: str) -> Msisdn | DropReason:
        """Return the number behind `raw`, or the reason why it is not a Vietnamese mobile number.

        Accepts spaces, dots, dashes and parentheses between digits, the forms 0…, 84…, +84…, 0084… and 84 (0)…, the 11-digit
        numbers of before 15-09-2018, and what spreadsheets do that can be undone: a lost leading zero, ``84912345678.0``, an
        apostrophe in front, ``="0912345678"``.
        """
        national = _national_digits(raw)
        if isinstance(national, DropReason):
            return national
        if len(national) == _OLD_NATIONAL_DIGITS and national[:3] in _NEW_HEADS:
            national = _NEW_HEADS[national[:3]] + national[3:]
        if national.startswith(_FIXED_HEADS):
            return DropReason.FIXED_LINE
        if national.startswith(_MACHINE_HEAD) and national[:3] not in _NEW_HEADS:
            return DropReason.MACHINE
        if len(national) != _NATIONAL_DIGITS:
            return DropReason.WRONG_LENGTH
        if national[:3] not in self._holders:
            return DropReason.UNALLOCATED
        return Msisdn(_COUNTRY + int(national))

    def normalise_many(self, raws: Sequence[str]) -> list[Msisdn | DropReason]:
        """Return what `normalise` gives for each of `raws`, fast where they come as 84… or 0… in plain digits."""
        international, national, slow = self._international, self._national, self.normalise
        # Msisdn would be a call per number here, a quarter of the whole time.
        numbers: list[int | DropReason] = [
            int(raw)
            if raw[:5] in international and len(raw) == 11 and raw.isascii() and raw.isdigit()
            else _COUNTRY + int(raw)
            if raw[:4] in national and len(raw) == 10 and raw.isascii() and raw.isdigit()
            else slow(raw)
            for raw in raws
        ]
        return cast("list[Msisdn | DropReason]", numbers)

    def holder(self, msisdn: Msisdn) -> CarrierCode | None:
        """Return the account that the number's prefix points to; portability is not considered."""
        return self._holders.get(str(msisdn)[2:5]) if _COUNTRY < msisdn < _COUNTRY + 10**_NATIONAL_DIGITS else None


def mask(msisdn: int) -> str:
    """Return the form in which a number may be shown: ``8490****123``; of one that was erased (0) nothing is left to show."""
    if not msisdn:
        return "–"
    digits = str(msisdn)
    return f"{digits[:4]}****{digits[-3:]}"


def mask_in(text: str) -> str:
    """Return free text with every row of seven digits or more masked, whatever stands between them."""

    def masked(row: re.Match[str]) -> str:
        digits = re.sub(r"\D", "", row[0])
        return f"{digits[:4]}****{digits[-3:]}"

    return _DIGIT_ROW.sub(masked, text)


def holds_number(text: str) -> bool:
    """Tell whether free text may hold a subscriber's number: nine digits or more, with at most spaces, dots and dashes between.

    Dates do not count, and a slash ends a row, so that the numbers of documents (12/CT-UBND) pass.
    """
    return _NINE_DIGITS.search(_DATE.sub("/", text)) is not None


def _three_digit_heads(digits: str) -> list[str]:
    return [digits] if len(digits) == 3 else [digits + str(last) for last in range(10)]


def _national_digits(raw: str) -> str | DropReason:
    """Return the digits after the trunk 0 or the country code, or why `raw` cannot be a Vietnamese number."""
    text = raw.strip().removeprefix("'")
    if kept := _TEXT_FORMULA.fullmatch(text):
        text = kept[1].strip()
    if not text:
        return DropReason.EMPTY
    if text[0] in "=@":
        return DropReason.FORMULA
    if _SCIENTIFIC.fullmatch(text):
        return DropReason.ROUNDED
    # A spreadsheet wrote a number as a float; were its point taken for a separator, a cut number could become another one's.
    if text.endswith((".0", ",0")) and text[:-2].isdigit():
        text = text[:-2]
    text = text.translate(_SEPARATORS)
    plus = text.startswith("+")
    digits = text[1:] if plus else text
    if not (digits.isascii() and digits.isdigit()):
        return DropReason.NOT_A_NUMBER
    if not plus and digits.startswith("00"):
        plus, digits = True, digits[2:]
    if plus and not digits.startswith("84"):
        return DropReason.FOREIGN
    if not plus and (len(digits) <= _SHORT_CODE_DIGITS or digits.startswith(_SERVICE_HEADS)):
        return DropReason.SHORT_CODE
    return _without_code(digits, international=plus)


def _without_code(digits: str, *, international: bool) -> str | DropReason:
    if not international:
        if digits.startswith("0"):
            return digits[1:]
        if len(digits) == _NATIONAL_DIGITS:
            return DropReason.AMBIGUOUS if digits.startswith("84") else digits
        if len(digits) == _OLD_NATIONAL_DIGITS and (digits[:3] in _NEW_HEADS or digits.startswith(_FIXED_HEADS)):
            return digits
    if digits.startswith("84"):
        return digits[2:].removeprefix("0")
    # Eleven digits or more without a trunk 0 and without 84 can only begin with another country's code.
    return DropReason.FOREIGN if len(digits) > _OLD_NATIONAL_DIGITS else DropReason.WRONG_LENGTH
