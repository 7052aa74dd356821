"""Which entries of the failure catalogue the simulations meet, by what they count, and which they cannot meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

MET_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "F01": ("dlr_before_resp",),
    "F02": ("ids differ",),
    "F03": ("id_reuse",),
    "F04": ("dlr_other_bind",),
    "F05": ("dlr_late",),
    "F06": ("receipts by tlv", "receipts by text"),
    "F07": ("dlr_grammar",),
    "F08": ("dlr_as_mo",),
    "F09": ("dlr_intermediate enroute",),
    "F10": ("dlr_dup",),
    "F11": ("dlr_first_part_only",),
    "F12": ("reorder_resp",),
    "F13": ("dlr_data_sm",),
    "F14": ("dlr_intermediate unknown",),
    "F15": ("mo_storm",),
    "F20": ("byte_drip",),
    "F21": ("coalesce",),
    "F22": ("bad_length",),
    "F23": ("mutate_pdu",),
    "F25": ("generic_nack",),
    "F26": ("wrong_seq",),
    "F27": ("wrong_type",),
    "F28": ("empty_id",),
    "F30": ("bind_error",),
    "F31": ("bind_silence", "pre_bind_pdu", "outbind"),
    "F32": ("half_open", "lost", "no_enquire_resp"),
    "F33": ("delay_resp",),
    "F34": ("drop_resp",),
    "F35": ("unbind_now",),
    "F36": ("stopped",),
    "F37": ("restart",),
    "F38": ("rst_after", "reset"),
    "F39": ("dup_resp",),
    "F40": ("enquire_flood",),
    "F41": ("refused", "unanswered", "accept_then_silence"),
    "F50": ("throttle",),
    "F51": ("queue_full",),
    "F52": ("syserr",),
    "F53": ("invdst",),
    "F54": (f"vendor_status {0x61}", f"vendor_status {0xC2}"),
    "F55": (f"vendor_status {0x455}",),
    "F56": (f"vendor_status {0x04}",),
    "F64": ("parts over two binds",),
}
"""Entry of the catalogue → what is counted when it is met."""

NOT_MET: Final[Mapping[str, str]] = {
    "F16": "a slow client: time does not pass while the program runs",
    "F17": "the simulated carriers write numbers in one form only",
    "F24": "the simulated carriers know no other commands",
    "F42": "no TLS on a network in memory",
    "F57": "the simulated carriers have no window of their own",
    "F60": "references are checked (I14), nothing makes them collide",
    "F61": "a property of the text, not of the link",
    "F62": "a property of the card, not of the link",
    "F63": "a property of the text, not of the link",
}
"""Entries without a count, and why; `tests/protocol` has a test for each."""

ALSO: Final = (
    *(f"crash {kind}" for kind in ("statement", "before commit", "after commit", "before write", "after write")),
    "power", "database is locked", "database or disk is full", "disk I/O error", "dlr_missing", "dedup_check", "id_format",
    "clock_skew", "fin_after", "stop_reading", "umr_echo", "deed refuse", "deed pause", "deed cancel", "deed release",
    "deed stop-all", "deed pause carrier", "deed rate", "carrier halted", "commit refused", "refused under lease", "cut by a crash",
    "clock set", "clock early", "stood still", "host dead", "second host", "rate of the hour", "carrier-closed", "quota-used",
    "hours passed", "window closed", "urgent overtakes", "receipt hours late",
)  # fmt: skip
"""What else must be met, though the catalogue has no number for it."""


def missing(hits: Mapping[str, int], least: int) -> list[str]:
    """Return what was met less than `least` times."""
    few = [f"{code} ({count})" for code, names in MET_BY.items() if (count := sum(hits.get(name, 0) for name in names)) < least]
    return few + [f"{name} ({hits.get(name, 0)})" for name in ALSO if hits.get(name, 0) < least]
