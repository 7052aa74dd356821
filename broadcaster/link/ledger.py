"""The simulated carrier's own record of what reached it and what it sent: JSON lines, mode 0600, appended and fsynced in batches.

It is the truth that the system under test is compared with, so it holds numbers in clear; it exists in rehearsals only. Each line is
one object. ``t`` is the carrier's wall clock in nanoseconds, ``e`` says what happened:

``submit``
    A submit_sm arrived: ``session``, ``seq``; ``src`` and ``dst`` as on the wire; ``part``, ``parts`` and ``ref`` from the user data
    header (1, 1 and null without one); ``sha``, the SHA-256 of the part's decoded text in UTF-8, without header; ``status``, the
    command_status decided; ``id``, the message id as in the response, null when refused. ``"answered": false`` is added when the
    response is withheld on purpose. The line is durable before the response leaves.
``receipt``
    A delivery receipt found its end: ``id`` as in the receipt, ``dst``, ``stat``; ``acked`` tells whether deliver_sm_resp with
    status 0 came. Those never acknowledged are written when the carrier is stopped.
``mo``
    A subscriber's message found its end: ``dst`` is the subscriber's number, ``text``, ``acked``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.lang import Said

MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One line of a ledger; what its kind of event lacks is None."""

    t: int
    event: str
    dst: str
    session: int | None = None
    seq: int | None = None
    src: str | None = None
    part: int | None = None
    parts: int | None = None
    ref: int | None = None
    sha: str | None = None
    status: int | None = None
    id: str | None = None
    answered: bool = True
    stat: str | None = None
    acked: bool | None = None
    text: str | None = None


_KEYS: Final = {
    "submit": frozenset({"t", "session", "seq", "src", "dst", "part", "parts", "ref", "sha", "status", "id"}),
    "receipt": frozenset({"t", "id", "dst", "stat", "acked"}),
    "mo": frozenset({"t", "dst", "text", "acked"}),
}
_OPTIONAL: Final = frozenset({"e", "answered"})


class Ledger:
    """Append lines durably. A torn last line of an earlier run is cut off first: its response never left."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raises ConfigurationError when it cannot be written."""
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, MODE)
        except OSError as error:
            raise ConfigurationError(
                Said(vi=f"không ghi được sổ {path}: {error.strerror}", en=f"cannot write the ledger {path}: {error.strerror}")
            ) from error
        os.ftruncate(self._descriptor, _end_of_last_line(self._descriptor))

    def write(self, lines: Sequence[str]) -> None:
        """Append `lines` (without line ends) and return once they are on the disk."""
        left = memoryview(("\n".join(lines) + "\n").encode())
        while left:
            left = left[os.write(self._descriptor, left) :]
        os.fsync(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)


def _end_of_last_line(descriptor: int) -> int:
    """Return the offset behind the last line end of the file, reading backwards."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 65_536)
        at = os.pread(descriptor, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def read_ledger(path: Path) -> Iterator[LedgerRow]:
    """Yield the rows of a ledger in order; a torn last line is passed over.

    Raises ConfigurationError when the file cannot be read, InvalidFileError with the line number at a damaged line before the last.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigurationError(
            Said(vi=f"không đọc được sổ {path}: {error.strerror}", en=f"cannot read the ledger {path}: {error.strerror}")
        ) from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            row = _row(line)
            if row is None:
                message = Said(vi="dòng hỏng, không phải một bản ghi của sổ", en="damaged line, not a row of a ledger")
                raise InvalidFileError([Problem(str(path), message, number)])
            yield row


def _row(line: bytes) -> LedgerRow | None:
    try:
        values: dict[str, Any] = json.loads(line)
        needed = _KEYS[values["e"]]
    except (ValueError, KeyError, TypeError):
        return None
    if not needed <= values.keys() <= needed | _OPTIONAL:
        return None
    return LedgerRow(event=values.pop("e"), **values)
