"""What a command_status means: its name, and what the sender should make of it (docs/delivery.md F50–F57)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from smpplib import consts

ROK: Final = 0x00
RINVCMDLEN: Final = 0x02
RINVCMDID: Final = 0x03
RINVBNDSTS: Final = 0x04
RALYBND: Final = 0x05
RSYSERR: Final = 0x08
RINVSRCADR: Final = 0x0A
RINVDSTADR: Final = 0x0B
RBINDFAIL: Final = 0x0D
RINVPASWD: Final = 0x0E
RINVSYSID: Final = 0x0F
RMSGQFUL: Final = 0x14
RTHROTTLED: Final = 0x58
RX_T_APPN: Final = 0x64
RX_P_APPN: Final = 0x65
RUNKNOWNERR: Final = 0xFF

NAMES: Final[Mapping[int, str]] = {
    code: name.removeprefix("SMPP_ESME_") for name, code in vars(consts).items() if name.startswith("SMPP_ESME_")
}

FIRST_VENDOR_CODE: Final = 0x400


class Verdict(StrEnum):
    """What a carrier's answer to submit_sm means for the row and the link."""

    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    """Pause the link; the attempt does not count (F50)."""
    QUEUE_FULL = "queue_full"
    """Try this subscriber again later (F51)."""
    TEMPORARY = "temporary"
    """Try again a few times (F52)."""
    REFUSED = "refused"
    """Final for this row (F53, F55)."""
    MISCONFIGURED = "misconfigured"
    """Every row would fare alike: pause the carrier (F53 for the sender, F54)."""
    REBIND = "rebind"
    """The session is broken (F56)."""
    DUPLICATE = "duplicate"
    """The carrier says it has this message already; only a carrier's own table says so."""


_VERDICTS: Final[Mapping[int, Verdict]] = {
    ROK: Verdict.ACCEPTED,
    RTHROTTLED: Verdict.THROTTLED,
    RMSGQFUL: Verdict.QUEUE_FULL,
    RINVBNDSTS: Verdict.REBIND,
    **dict.fromkeys((RSYSERR, 0x45, RX_T_APPN), Verdict.TEMPORARY),
    # Sender, type of number, service type, classes, flags, times and parameters come from the card, so they fail for every row.
    **dict.fromkeys(
        (
            RINVSRCADR,
            0x06,
            0x07,
            0x15,
            0x42,
            0x43,
            0x48,
            0x49,
            0x50,
            0x51,
            0x53,
            0x54,
            0x61,
            0x62,
            0x63,
            0xC0,
            0xC1,
            0xC2,
            0xC3,
            0xC4,
        ),
        Verdict.MISCONFIGURED,
    ),
}

_NO_OVERRIDES: Final[Mapping[int, str]] = MappingProxyType({})


def describe(code: int) -> str:
    """Name a command_status (5.1.3), e.g. ``RMSGQFUL (0x14): Message Queue is full``."""
    name = NAMES.get(code)
    if name is None:
        return f"0x{code:X}: {'vendor' if code >= FIRST_VENDOR_CODE else 'reserved'} status"
    return f"{name} (0x{code:02X}): {consts.DESCRIPTIONS[code]}"


def verdict(code: int, overrides: Mapping[int, str] = _NO_OVERRIDES) -> Verdict:
    """Judge the status (5.1.3) of an answer to submit_sm, the carrier's own table first; unknown codes refuse the row (F55).

    Raises ValueError when an override names no verdict.
    """
    override = overrides.get(code)
    return Verdict(override) if override is not None else _VERDICTS.get(code, Verdict.REFUSED)
