"""Numbers that moved to another carrier: who serves a number that two carriers export."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.files.ports import PortTable, network_names
from broadcaster.lang import Said
from broadcaster.model import CarrierCard, CarrierCode
from broadcaster.rules.basis import Basis, check_basis
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.ports import put_ports
from broadcaster.store.vault import Vault

SLICE_ROWS: Final = 10_000


class PortImport(NamedTuple):
    """What a list of ported numbers brought; `rows` = `stored` + problems."""

    rows: int
    stored: int
    problems: Sequence[Problem]


def import_ports(
    store: Store,
    auditor: Auditor,
    vault: Vault,
    path: Path,
    cards: Mapping[CarrierCode, CarrierCard],
    *,
    basis: Basis,
    now: dt.datetime,
) -> PortImport:
    """Store the good rows of a list of ported numbers; bad rows are reported, not stored.

    Raises `InvalidFileError` when no row is good, `ConfigurationError` for a basis that names no document.
    """
    check_basis(basis, now)
    table = PortTable(path, network_names({code: (card.name, card.mnc) for code, card in cards.items()}))
    rows = iter(table)
    stored = 0
    while piece := list(islice(rows, SLICE_ROWS)):
        tokens = vault.tokens([row.number for row in piece])
        moves = [(token, row.carrier, row.effective_s) for token, row in zip(tokens, piece, strict=True)]
        with store.write() as connection:
            put_ports(connection, sorted(moves))
        stored += len(piece)
    if not stored:
        raise InvalidFileError(table.problems or [Problem(str(path), Said("không có dòng dữ liệu nào", "there is no data row"))])
    with store.write() as connection:
        detail = {"rows": table.rows, "stored": stored, "legal_basis": basis.number, "requested_on": basis.date.isoformat()}
        auditor.record(connection, "port-import", path.name, detail)
    return PortImport(table.rows, stored, table.problems)
