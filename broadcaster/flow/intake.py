"""Stage 1: what carriers export becomes immutable snapshots of subscribers."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from broadcaster.errors import LockedError, RefusedError, StoreError
from broadcaster.files.parcels import Parcel
from broadcaster.files.rosters import RosterReader
from broadcaster.flow.load import DropList, Loader, Survey
from broadcaster.lang import Said
from broadcaster.model import TIMEZONE, CarrierCode, RosterId
from broadcaster.rules.basis import Basis, check_basis
from broadcaster.rules.likeness import Likeness, emptied_communes
from broadcaster.store import rosters as roster_table
from broadcaster.store.audit import Auditor
from broadcaster.store.engine import Store
from broadcaster.store.times import to_ms
from broadcaster.store.vault import Vault, commitment_of_blocks

SLICE_ROWS = 10_000
_SHOWN_COMMUNES: Final = 8
_CLOCK_TOLERANCE: Final = dt.timedelta(minutes=10)
"""How far a carrier's clock may be ahead of ours; what was seen later than that is a mistake."""
_LATE: Final = dt.timedelta(days=1)
"""Activity so much later than the stated observation contradicts it; less may be how the export was run, or a time zone."""


class Imported(NamedTuple):
    """What an import made: the roster, and how it compares with the carrier's one before."""

    roster: roster_table.Roster
    likeness: Likeness | None
    files: Mapping[str, str]
    """Name → SHA-256."""


class Surveyed(NamedTuple):
    """What an import would bring; `rows` = `kept` + dropped."""

    rows: int
    kept: int
    dropped: Mapping[str, int]


def import_roster(
    store: Store,
    auditor: Auditor,
    vault: Vault,
    parcel: Parcel,
    *,
    carrier: CarrierCode,
    observed_at: dt.datetime | None,
    basis: Basis,
    now: dt.datetime,
    mnc: str | None = None,
    accept_difference: bool = False,
    drops: DropList | None = None,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Make an immutable snapshot of a carrier's export.

    Without `observed_at` the newest last-seen time of the files is taken. Rows that cannot be subscribers are dropped, counted by
    reason and listed in `drops`; cells that no inventory knows are noted as unknown. An import that fails leaves no roster. Raises
    `RefusedError` when these very files are the newest roster of this or another carrier, when most cells are not of the network
    `mnc`, when `observed_at` lies ahead or more than a day before the newest activity, or when the snapshot is too unlike the one
    before and `accept_difference` is not set; `ConfigurationError` for a basis that names no document; `InvalidFileError` when a part
    is no table of subscribers.
    """
    check_basis(basis, now)
    if observed_at and observed_at > now:
        raise RefusedError(Said("Thời điểm trích xuất nằm trong tương lai.", "The time of observation lies in the future."))
    _clear_leftovers(store, carrier)
    salt = secrets.token_bytes(16)
    with store.write() as connection:
        _refuse_known_files(connection, carrier, parcel)
        previous = roster_table.newest_rosters(connection).get(carrier)
        roster_id = roster_table.begin_roster(
            connection,
            carrier=carrier,
            file_name=parcel.name,
            file_sha256=parcel.sha256,
            legal_basis=basis.number,
            requested_on=basis.date.isoformat(),
            observed_ms=to_ms(observed_at or now),
            imported_ms=to_ms(now),
            salt=salt,
        )
    try:
        loader = _load(Loader(store, vault, carrier, roster_id, mnc, drops, progress), parcel, mnc, now)
        if observed_at:
            _refuse_later(loader.newest_s, observed_at)
        likeness = _compare(store, previous, roster_id, loader.usable)
        if not accept_difference:
            _refuse_unlike(likeness)
        # A carrier's clock may be ahead; a snapshot is never of a time after its import.
        observed_ms = to_ms(observed_at) if observed_at else min(loader.newest_s * 1000, to_ms(now))
        committed = commitment_of_blocks(loader.blocks(), salt)
        with store.write() as connection:
            # Another import of the same files may have ended while this one read.
            _refuse_known_files(connection, carrier, parcel)
            made = loader.complete(connection, observed_ms, committed)
            _record(connection, auditor, made, parcel, likeness)
    except BaseException:
        # What stopped the import is what the caller must hear of; rows that stay behind go with the next import.
        with suppress(StoreError, LockedError):
            _remove(store, roster_id)
        raise
    return Imported(made, likeness, parcel.files)


def survey(
    parcel: Parcel,
    *,
    carrier: CarrierCode,
    mnc: str | None,
    now: dt.datetime,
    drops: DropList | None = None,
    progress: Callable[[int], None] | None = None,
) -> Surveyed:
    """Count what an import of these files at `now` would keep and drop, storing nothing; raises as `import_roster` does for files."""
    found = Survey(carrier, mnc, drops, progress)
    _read(found, parcel, mnc, now)
    found.check(parcel.name)
    dropped = found.reasons(sum(len(set(block)) for block in found.blocks()))
    return Surveyed(found.rows, found.rows - sum(dropped.values()), dropped)


def _load(loader: Loader, parcel: Parcel, mnc: str | None, now: dt.datetime) -> Loader:
    _read(loader, parcel, mnc, now)
    loader.flush()
    loader.check(parcel.name)
    return loader


def _read(taker: Survey, parcel: Parcel, mnc: str | None, now: dt.datetime) -> None:
    latest_s = int((now + _CLOCK_TOLERANCE).timestamp())
    for part in parcel.parts:
        with RosterReader(part, mnc, latest_s) as reader:
            for piece in reader.slices(SLICE_ROWS):
                taker.add(part.name, piece)


def _refuse_later(newest_s: int, observed_at: dt.datetime) -> None:
    newest = dt.datetime.fromtimestamp(newest_s, ZoneInfo(TIMEZONE))
    if newest <= observed_at + _LATE:
        return
    stated = observed_at.astimezone(ZoneInfo(TIMEZONE))
    raise RefusedError(
        Said(
            f"Lần hoạt động mới nhất trong tệp là {newest:%d-%m-%Y %H:%M}, sau lúc chốt số liệu đã ghi ({stated:%d-%m-%Y %H:%M}).",
            f"The newest activity in the files is {newest:%d-%m-%Y %H:%M}, after the observation stated ({stated:%d-%m-%Y %H:%M}).",
        ),
        Said(
            "Hỏi nhà mạng lúc chốt số liệu, hoặc ghi --observed-at newest.",
            "Ask the carrier when the figures were taken, or give --observed-at newest.",
        ),
    )


def _compare(store: Store, previous: roster_table.Roster | None, roster_id: RosterId, rows: int) -> Likeness | None:
    if previous is None:
        return None
    with store.read() as connection:
        found = roster_table.overlap(connection, previous, roster_id, rows)
    smaller = min(found.before, found.after)
    shared = found.both / smaller if smaller else None
    scaled = [{code: people / found.share for code, people in side.items()} for side in (found.communes_before, found.communes_after)]
    return Likeness(previous.kept, rows, shared, emptied_communes(*scaled) if found.before else ())


def _refuse_unlike(likeness: Likeness | None) -> None:
    if likeness is None or not likeness.doubtful:
        return
    shared = "?" if likeness.overlap is None else f"{likeness.overlap:.0%}"
    communes = ", ".join(likeness.emptied[:_SHOWN_COMMUNES]) + (", …" if len(likeness.emptied) > _SHOWN_COMMUNES else "")
    vi = f"Khác hẳn lần trước: {likeness.after} thuê bao (trước: {likeness.before}), trùng {shared}"
    en = f"Unlike the snapshot before: {likeness.after} subscribers (before: {likeness.before}), {shared} in common"
    if communes:
        vi, en = f"{vi}; xã gần như trống: {communes}", f"{en}; communes nearly empty: {communes}"
    raise RefusedError(
        Said(f"{vi}. Có thể chỉ là một nửa tệp.", f"{en}. It may be half a file."),
        Said(
            "Hỏi lại nhà mạng; nếu số liệu đúng, nhập lại với --accept-difference.",
            "Ask the carrier; if the figures are right, import again with --accept-difference.",
        ),
    )


def _record(connection: Connection, auditor: Auditor, made: roster_table.Roster, parcel: Parcel, likeness: Likeness | None) -> None:
    detail = {
        "carrier": made.carrier,
        "files": dict(parcel.files),
        "rows": made.file_rows,
        "kept": made.kept,
        "commitment": made.commitment,
        "legal_basis": made.legal_basis,
        "requested_on": made.requested_on,
        "unlike_before": bool(likeness and likeness.doubtful),
    }
    auditor.record(connection, "roster-import", made.file_name, detail)


def _refuse_known_files(connection: Connection, carrier: CarrierCode, parcel: Parcel) -> None:
    name = parcel.name
    if roster_table.find_same_file(connection, carrier, parcel.sha256):
        raise RefusedError(
            Said(
                f"{name}: tệp này đã được nhập và đang là danh sách mới nhất của nhà mạng.",
                f"{name}: this file was imported before and is the carrier's newest roster.",
            )
        )
    if other := roster_table.find_same_file_elsewhere(connection, carrier, parcel.sha256):
        raise RefusedError(
            Said(
                f"{name}: tệp này đang là danh sách mới nhất của nhà mạng khác ({other.carrier}).",
                f"{name}: this file is the newest roster of another carrier ({other.carrier}).",
            ),
            Said(
                f"Kiểm tra --carrier; nếu lần trước nhập nhầm thì nhập lại tệp đúng của {other.carrier} trước.",
                f"Check --carrier; if the earlier import was the mistake, import the right file of {other.carrier} first.",
            ),
        )


def _clear_leftovers(store: Store, carrier: CarrierCode) -> None:
    with store.read() as connection:
        leftovers = roster_table.incomplete_rosters(connection, carrier)
    for roster_id in leftovers:
        _remove(store, roster_id)


def _remove(store: Store, roster_id: RosterId) -> None:
    gone = False
    while not gone:
        with store.write() as connection:
            gone = roster_table.drop_slice(connection, roster_id)
