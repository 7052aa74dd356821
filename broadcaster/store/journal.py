"""The second durable place of every refusal: a file of its own, apart from the database, written and synced before anything is said.

One line a refusal or withdrawal: a check sum and JSON with the number's token, never the number. The file only grows. A database put
back from a backup takes the refusals it has forgotten from here (store/refusals.py, `reconcile`).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from broadcaster.errors import StoreError
from broadcaster.lang import Said

_PRIVATE: Final = 0o600
_END: Final = b"}}\n"
"""How a line ends, and nothing that was cut off: the entry's own brace closes no sooner."""
_FORM: Final = 1
"""The form of a line; a later one gets another number."""
_WHOLE: Final = re.compile(rb'\{"crc": ([0-9]+), "entry": (\{.*\})\}\n')
_BEGUN: Final = b'{"crc": '
"""How a line begins that a crash cut off."""


class Contents(NamedTuple):
    """What a journal holds: the bodies of its good lines, each with its line number, and the numbers of the damaged ones."""

    bodies: list[tuple[int, bytes]]
    damaged: list[int]


class JournalError(StoreError):
    """The journal cannot be written, so no refusal may be acknowledged."""


class Journal:
    """Append entries to the file at `path`, made at the first, each call synced before it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write the entries behind all others and sync. Raises `JournalError` when that fails: nothing may then be acknowledged."""
        if not entries:
            return
        text = b"".join(_line(entry) for entry in entries)
        try:
            fresh = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_torn(descriptor):
                    text = b"\n" + text
                _write_all(descriptor, text)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if fresh:
                _sync_folder(self.path.parent)
        except OSError as error:
            raise JournalError(
                Said(
                    f"Không ghi được sổ từ chối {self.path}: {error.strerror}",
                    f"The journal of refusals {self.path} cannot be written: {error.strerror}",
                ),
                Said(
                    "Kiểm tra ổ đĩa và quyền của tệp này; lời từ chối chỉ được xác nhận khi đã ghi vào đây.",
                    "Check the disk and the mode of this file; refusals are acknowledged only once they are in it.",
                ),
            ) from error

    def check(self) -> None:
        """Raise `JournalError` unless the file can be written now, or made where there is none."""
        try:
            if self.path.exists() or not os.access(self.path.parent, os.W_OK | os.X_OK):
                os.close(os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
        except OSError as error:
            raise JournalError(
                Said(
                    f"Không ghi được sổ từ chối {self.path}: {error.strerror}",
                    f"The journal of refusals {self.path} cannot be written: {error.strerror}",
                )
            ) from error

    def read(self) -> Contents:
        """Return what is in the file; without a file, nothing.

        A line cut off by a crash was never acknowledged and is passed over; any other that is not as it was written is damaged.
        Raises `StoreError` when the file cannot be read.
        """
        bodies: list[tuple[int, bytes]] = []
        damaged = []
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    whole = _WHOLE.fullmatch(line)
                    if whole and zlib.crc32(whole[2]) == int(whole[1]):
                        bodies.append((number, whole[2]))
                    elif line.strip() and not _is_cut_off(line):
                        damaged.append(number)
        except FileNotFoundError:
            return Contents([], [])
        except OSError as error:
            raise StoreError(
                Said(
                    f"Không đọc được sổ từ chối {self.path}: {error.strerror}",
                    f"The journal of refusals {self.path} cannot be read: {error.strerror}",
                )
            ) from error
        return Contents(bodies, damaged)


def _line(entry: Mapping[str, Any]) -> bytes:
    body = json.dumps({"form": _FORM, **entry}, ensure_ascii=True, sort_keys=True)
    return f'{{"crc": {zlib.crc32(body.encode())}, "entry": {body}}}\n'.encode()


def entry_of(body: bytes) -> dict[str, Any]:
    """Return the entry that a good line holds. Raises `ValueError` for one of another form."""
    entry: dict[str, Any] = json.loads(body)
    if entry.pop("form", None) != _FORM:
        raise ValueError("form")
    return entry


def _is_cut_off(line: bytes) -> bool:
    """Tell whether this is what a crash left of a line, which the next one may have closed with a line end."""
    return (line.startswith(_BEGUN) or _BEGUN.startswith(line.rstrip(b"\n"))) and not line.endswith(_END)


def _is_torn(descriptor: int) -> bool:
    """Tell whether the last line was cut off by a crash."""
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _write_all(descriptor: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    """Make the file's name outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
