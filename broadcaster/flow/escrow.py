"""The vault's key in the hands of several persons, and back: any `threshold` of the holders can restore it, fewer cannot."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from broadcaster.errors import ConfigurationError
from broadcaster.files.recovery import Split, grouped, join_key, remove_sheets, split_key, write_sheets
from broadcaster.lang import Said
from broadcaster.store.audit import Auditor
from broadcaster.store.campaigns import installed
from broadcaster.store.engine import Store
from broadcaster.store.vault import Vault, read_key_file, write_key_file


def escrow(
    store: Store, auditor: Auditor, key_file: Path, folder: Path, *, shares: int, threshold: int, today: dt.date
) -> list[Path]:
    """Write the recovery sheets of the key and record that they exist; return where they are.

    Raises `ConfigurationError` for impossible numbers of sheets, or a folder they cannot be written to.
    """
    key = read_key_file(key_file)
    split = Split(shares, threshold, Vault(key).fingerprint)
    written = write_sheets(folder, split_key(key, shares, threshold), split, today)
    try:
        with store.write() as connection:
            auditor.record(connection, "vault-escrow", "vault", {"shares": shares, "threshold": threshold})
    except BaseException:
        # Sheets that nobody knows of must not lie about.
        remove_sheets(written)
        raise
    return written


def recover(store: Store, auditor: Auditor, key_file: Path, sheets: Sequence[str], *, dry_run: bool) -> str:
    """Put the key together, hold it against the database, and write its file if there is none; return the fingerprint.

    Raises `ConfigurationError` when the sheets make no key or another database's, or a key file is there already.
    """
    key = join_key(sheets)
    fingerprint = Vault(key).fingerprint
    with store.read() as connection:
        kept = str(installed(connection)["vault_fingerprint"])
    if fingerprint != kept:
        raise ConfigurationError(
            Said(
                f"Khóa ghép được ({grouped(fingerprint)}) không phải của cơ sở dữ liệu này ({grouped(kept)}).",
                f"The key of these sheets ({grouped(fingerprint)}) is not that of this database ({grouped(kept)}).",
            )
        )
    with store.write() as connection:
        # The entry comes first: nobody has the key without it.
        auditor.record(connection, "vault-recover", "vault", {"sheets": len(set(sheets)), "dry_run": dry_run})
        if not dry_run:
            write_key_file(key_file, key)
    return fingerprint
