"""Bring the spellings of a cell's identity to one key, so that rosters and inventories meet (3GPP TS 23.003).

Keys: ``lte:452-04:27447297`` (ECI), ``nr:452-04:<NCI>`` and ``cgi:452-04:12345-6789`` (LAC-CI). GSM and UMTS share the prefix ``cgi``
because exports rarely say which of the two a LAC-CI belongs to, and a UMTS long identity is brought to its CI by its low 16 bits.
"""

from __future__ import annotations

import re
from typing import Final

_LAC_CI_RADIOS: Final = frozenset({"gsm", "2g", "umts", "wcdma", "3g"})
_LTE_RADIOS: Final = frozenset({"lte", "4g"})
_NR_RADIOS: Final = frozenset({"nr", "5g"})
_MAX_CI: Final = 0xFFFF
_MAX_LONG_CI: Final = 0xFFF_FFFF
_MAX_ECI: Final = 0xFFF_FFFF
_MAX_NCI: Final = 0xF_FFFF_FFFF
_RESERVED_LACS: Final = frozenset({0, 0xFFFE, 0xFFFF})
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]{1,9}|[0-9]{1,11}", re.ASCII)


def cell_key(text: str, radio: str | None = None) -> str | None:
    """Return the key of the cell spelt by `text`, or None if it names no cell.

    Accepts ``MCC-MNC-LAC-CI``, ``MCC-MNC-ECI``, ``MCC-MNC-NCI``, with ``:`` for ``-``, in decimal or hexadecimal with ``0x``, with
    the radio in front (``lte:452-04:…``) or given apart. Without a radio, four parts are LAC-CI, and a single identity is an ECI if
    it fits 28 bits, else an NCI.
    """
    steps = text.strip().replace(":", "-").split("-")
    if steps[0][:1].isalpha():
        radio = steps.pop(0)
    if len(steps) == 3:
        return key_of(radio, steps[0], steps[1], "", steps[2])
    # An empty third step is a slip of the pen here, though a missing LAC is allowed in columns.
    return key_of(radio, *steps) if len(steps) == 4 and steps[2] else None


def key_of(radio: str | None, mcc: str, mnc: str, area: str, cell: str) -> str | None:
    """Return the key of a cell given in columns; `area` (LAC or TAC) may be empty for LTE and NR, where it is not part of the key."""
    numbers = [_number(part) for part in (mcc, mnc, area or "0", cell)]
    if not all(number is not None for number in numbers):
        return None
    country, network, zone, identity = (number or 0 for number in numbers)
    if not (100 <= country <= 999 and network <= 99):
        return None
    plmn = f"{country}-{network:02d}"
    kind = _kind(radio, with_area=bool(area), identity=identity)
    if kind == "cgi":
        return _lac_ci_key(plmn, zone, identity, long_allowed=radio is not None)
    limit = {"lte": _MAX_ECI, "nr": _MAX_NCI}.get(kind, 0)
    return f"{kind}:{plmn}:{identity}" if identity <= limit else None


def _kind(radio: str | None, *, with_area: bool, identity: int) -> str:
    if radio is None:
        return "cgi" if with_area else "lte" if identity <= _MAX_ECI else "nr"
    name = radio.strip().lower()
    if name in _LTE_RADIOS:
        return "lte"
    if name in _NR_RADIOS:
        return "nr"
    return "cgi" if name in _LAC_CI_RADIOS | {"cgi"} else "unknown"


def _lac_ci_key(plmn: str, lac: int, identity: int, *, long_allowed: bool) -> str | None:
    if lac > 0xFFFF or lac in _RESERVED_LACS or identity > (_MAX_LONG_CI if long_allowed else _MAX_CI):
        return None
    return f"cgi:{plmn}:{lac}-{identity & _MAX_CI}"


def _number(text: str) -> int | None:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)
