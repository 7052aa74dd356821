"""Bring the spellings of a cell's identity to one key, so that rosters and inventories meet (3GPP TS 23.003).

Keys: ``lte:452-04:27447297`` (ECI), ``nr:452-04:<NCI>`` and ``cgi:452-04:12345-6789`` (LAC-CI). GSM and UMTS share the prefix ``cgi``
because exports rarely say which of the two a LAC-CI belongs to, and a UMTS long identity is brought to its CI by its low 16 bits.
"""

from __future__ import annotations

import re
from typing import Final

_RADIO_WORDS: Final = {
    "2g": "gsm",
    "gsm": "gsm",
    "edge": "gsm",
    "3g": "umts",
    "umts": "umts",
    "wcdma": "umts",
    "4g": "lte",
    "lte": "lte",
    "ecgi": "lte",
    "5g": "nr",
    "nr": "nr",
    "ncgi": "nr",
}
_LABEL: Final = re.compile(r"([a-z0-9]*[a-z])\s*[:=-]?\s*(?=\d{3}\D|452)", re.ASCII | re.IGNORECASE)
_JOINED: Final = re.compile(r"452(\d\d)([0-9A-F]{5,11})", re.ASCII | re.IGNORECASE)
_PAIR: Final = re.compile(r"(\d{1,7})\s*[-_/:]\s*(\d{1,9})", re.ASCII)
_VIETNAM: Final = "452"
_PLMN_DIGITS: Final = 5
_LEAST_BARE_DIGITS: Final = 7
"""Of an identity without its radio; a shorter one may be anything."""
_MAX_LOCAL: Final = 0xFF
"""Of a cell within its eNodeB."""
_MAX_CI: Final = 0xFFFF
_MAX_LONG_CI: Final = 0xFFF_FFFF
_MAX_ECI: Final = 0xFFF_FFFF
_MAX_NCI: Final = 0xF_FFFF_FFFF
_RESERVED_LACS: Final = frozenset({0, 0xFFFE, 0xFFFF})
_NUMBER: Final = re.compile(r"0[xX]([0-9A-Fa-f]{1,9})|(?=[0-9]*[A-Fa-f])([0-9A-Fa-f]{1,9})|([0-9]{1,11})(?:\.0+)?", re.ASCII)


def cell_key(text: str, radio: str | None = None) -> str | None:
    """Return the key of the cell spelt by `text`, or None if it names no cell.

    Accepts ``MCC-MNC-LAC-CI``, ``MCC-MNC-ECI``, ``MCC-MNC-NCI`` and, where the radio is LTE, ``MCC-MNC-eNB-cell``; ``:`` or one of
    ``. _ /`` and space for ``-``; decimal or hexadecimal; without any mark between the fields when the country is Vietnam, or with
    one behind the network only (``4520401A2B3C``, ``45204-01A2B3C``); with the radio or ``CGI``, ``ECGI``, ``NCGI`` in front
    (``lte:452-04:…``) or the radio given apart. Without a radio, four parts are LAC-CI, and a single identity is an ECI if it fits
    28 bits, else an NCI.
    """
    bare = text.strip()
    if label := _LABEL.match(bare):
        radio, bare = label[1].lower(), bare[label.end() :]
    steps = _steps(bare)
    if len(steps) == 1 or (len(steps) == 2 and len(steps[0]) == _PLMN_DIGITS):
        return _joined_key("".join(steps), radio)
    if len(steps) == 3:
        return key_of(radio, steps[0], steps[1], "", steps[2])
    # An empty third step is a slip of the pen here, though a missing LAC is allowed in columns.
    if len(steps) != 4 or not steps[2]:
        return None
    node, local = _number(steps[2]), _number(steps[3])
    if radio is not None and radio_of(radio) == "lte" and node and local is not None and local <= _MAX_LOCAL:
        return key_of(radio, steps[0], steps[1], "", str(node << 8 | local))
    return key_of(radio, *steps)


def radio_of(text: str) -> str | None:
    """Return ``gsm``, ``umts``, ``lte``, ``nr`` or ``cgi`` (one of the first two) for a radio as people write it, else None."""
    name = text.strip().lower()
    if name in ("cgi", "sai"):
        return "cgi"
    found = {radio for word, radio in _RADIO_WORDS.items() if word in name}
    if found == {"gsm", "umts"}:
        return "cgi"
    return found.pop() if len(found) == 1 else None


def pair_key(text: str, radio: str | None, mcc: str, mnc: str) -> str | None:
    """Return the key of an identity without its network: eNodeB and cell for LTE, LAC and CI for GSM and UMTS.

    None where `radio` does not tell which of the two it is.
    """
    pair = _PAIR.fullmatch(text.strip())
    if not pair:
        return None
    if radio == "lte":
        return key_of(radio, mcc, mnc, "", with_node(pair[1], pair[2])) if int(pair[2]) <= _MAX_LOCAL else None
    return key_of(radio, mcc, mnc, pair[1], pair[2]) if radio in ("gsm", "umts", "cgi") else None


def with_node(node: str, cell: str) -> str:
    """Return the ECI of a cell that is numbered within its eNodeB: 20 bits of the node, 8 of the cell (3GPP TS 23.003, 19.6).

    What is no such pair comes back as it is.
    """
    number, local = _number(node), _number(cell)
    return cell if number is None or local is None or local > _MAX_LOCAL else str(number << 8 | local)


def _steps(text: str) -> list[str]:
    for mark in "._/ ":
        if mark in text and not any(other in text for other in "-:._/ ".replace(mark, "")):
            return text.split(mark)
    return text.replace(":", "-").split("-")


def _joined_key(text: str, radio: str | None) -> str | None:
    """Return the key of an identity written in one, which can be told apart because the country and its networks are known."""
    match = _JOINED.fullmatch(text)
    if not match:
        return None
    mnc, rest = match[1], match[2]
    kind = radio_of(radio) if radio is not None else None
    if kind is None and len(rest) < _LEAST_BARE_DIGITS:
        return None
    if rest.isdigit() and kind in (None, "gsm", "umts", "cgi") and len(rest) == 10:
        return key_of(radio, _VIETNAM, mnc, rest[:5], rest[5:])
    if rest.isdigit():
        return key_of(radio, _VIETNAM, mnc, "", rest) if kind not in ("gsm", "umts", "cgi") else None
    if len(rest) == 8 and kind in (None, "gsm", "umts", "cgi"):
        return key_of(radio, _VIETNAM, mnc, f"0x{rest[:4]}", f"0x{rest[4:]}")
    if kind == "lte" and len(rest) == 8:
        rest = rest.removeprefix("0")
    fits = (len(rest) == 7 and kind in (None, "lte")) or (len(rest) == 9 and kind in (None, "nr"))
    return key_of(radio, _VIETNAM, mnc, "", f"0x{rest}") if fits else None


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
    found = radio_of(radio)
    return "unknown" if found is None else found if found in ("lte", "nr") else "cgi"


def _lac_ci_key(plmn: str, lac: int, identity: int, *, long_allowed: bool) -> str | None:
    if lac > 0xFFFF or lac in _RESERVED_LACS or identity > (_MAX_LONG_CI if long_allowed else _MAX_CI):
        return None
    return f"cgi:{plmn}:{lac}-{identity & _MAX_CI}"


def _number(text: str) -> int | None:
    match = _NUMBER.fullmatch(text.strip())
    if not match:
        return None
    # Letters among the digits are hexadecimal; a point and zeros behind them are what spreadsheets add.
    hexadecimal = match[1] or match[2]
    return int(hexadecimal, 16) if hexadecimal else int(match[3])
