"""The `receipt_fault` table: what was wrong with receipts that were taken all the same, counted by carrier and kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, select

from broadcaster.store.engine import execute_many
from broadcaster.store.schema import receipt_fault

ID_CONFLICT: Final = "dlr_id_conflict"
"""The parameter and the text name two different messages; the parameter was believed (F06)."""
UNPARSED: Final = "unparsed"
"""No message could be read from it (F07)."""
UNKNOWN_STATE: Final = "unknown_state"
"""Its state is in no standard and not on the card; it settles nothing (F14)."""
IN_DOUBT: Final = "two_candidates"
"""Two parts fit, so it was credited to neither (F03)."""


def note_faults(connection: Connection, receipts: Mapping[tuple[str, str], int]) -> None:
    """Add to the counts of (carrier, kind), in the transaction that stores the receipts."""
    execute_many(
        connection,
        "INSERT INTO receipt_fault (carrier, fault, receipts) VALUES (?, ?, ?) "
        "ON CONFLICT (carrier, fault) DO UPDATE SET receipts = receipt_fault.receipts + excluded.receipts",
        [(*key, number) for key, number in receipts.items()],
    )


def faults_by_carrier(connection: Connection) -> dict[str, dict[str, int]]:
    """Return carrier → kind → how many receipts had that fault, over the life of the installation."""
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(select(receipt_fault).order_by(receipt_fault.c.carrier, receipt_fault.c.fault)):
        found.setdefault(row.carrier, {})[row.fault] = int(row.receipts)
    return found
