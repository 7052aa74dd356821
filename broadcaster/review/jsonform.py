"""The review as JSON for other programs: stable English keys, whatever the language; times in UTC, lags in milliseconds."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict
from typing import Any

from broadcaster.review.data import CarrierFigures, Review
from broadcaster.review.words import key, outcome_key
from broadcaster.rules.tally import SummaryRow, Totals

FORM = "broadcaster-review-1"


def render(review: Review) -> str:
    """Return the JSON document, indented, ending in a newline."""
    return json.dumps(document(review), ensure_ascii=False, indent=2, default=_plain) + "\n"


def document(review: Review) -> dict[str, Any]:
    """Return the review as JSON values, times still datetimes."""
    return {
        "form": FORM,
        "made_at": review.made_at,
        "provisional": review.provisional,
        "campaign": asdict(review.campaign),
        "approvals": [asdict(item) for item in review.signatures],
        "totals": _totals(review.totals) | {"received_by_phone": review.on_handset, "confirmed_by_carrier": review.at_carrier},
        "carriers": [_carrier(item) for item in review.carriers],
        "communes": [
            {"code": item.code, "name": item.name, "lat": item.lat, "lon": item.lon, "totals": _totals(item.totals)}
            for item in review.areas
        ],
        "approximate": review.approximate,
        "outcomes": [_row(row) for row in review.rows],
        "curve": asdict(review.curve),
        "replies": [asdict(item) for item in review.replies],
        "refusals": [asdict(item) for item in review.refusals],
        "uncertain": [asdict(item) for item in review.uncertain],
        "unmatched_receipts": dict(review.unmatched_receipts),
        "story": [asdict(item) for item in review.story],
        "events": [asdict(item) for item in review.events],
        "audit": {"entries": review.audit_entries, "head": review.audit_head},
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "audience": totals.audience,
        "excluded": totals.excluded_total,
        "excluded_by_reason": {key(reason): count for reason, count in totals.excluded.items()},
        "planned": totals.planned,
        "open": totals.open,
        "cancelled": totals.cancelled,
        "lapsed": totals.lapsed,
        "suppressed": totals.suppressed,
        "sent": totals.sent,
        "refused": totals.refused,
        "uncertain": totals.uncertain,
        "accepted": totals.accepted,
        "awaiting": totals.awaiting,
        "confirmed": totals.delivered,
        "failed": totals.failed_total,
        "failed_by_state": {key(state): count for state, count in totals.failed.items()},
        "parts": totals.parts,
        "parts_sent": totals.parts_sent,
    }


def _carrier(item: CarrierFigures) -> dict[str, Any]:
    plain = asdict(item) | {"totals": _totals(item.totals)}
    plain["failed"] = [{"state": key(one.state), "error": one.error, "messages": one.messages} for one in item.failed]
    return plain


def _row(row: SummaryRow) -> dict[str, Any]:
    return {
        "carrier": row.carrier,
        "commune": row.area,
        "outcome": outcome_key(row.state, row.exclusion),
        "messages": row.messages,
        "parts": row.parts,
    }


def _plain(value: object) -> str:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")
