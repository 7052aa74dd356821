"""Cut a byte stream into PDUs by their command_length (SMPP 3.4, 3.2 and 5.1.1), whatever its chunks (F20–F22)."""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from broadcaster.smpp.errors import RemoteProtocolError

LEAST_OCTETS: Final = 16
MOST_OCTETS: Final = 65_536

_HEADER: Final = struct.Struct(">IIII")
_LENGTH: Final = struct.Struct(">I")

Frame: TypeAlias = tuple[int, int, int, bytes]
"""command_id, command_status, sequence_number, body octets."""


class Framer:
    """Keep what is incomplete, return what is whole."""

    __slots__ = ("_pieces", "_waiting", "_wanted")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._wanted = _LENGTH.size

    @property
    def partial(self) -> bool:
        """Tell whether a PDU has begun and not ended."""
        return self._waiting > 0

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the PDUs they complete.

        Raises RemoteProtocolError when a command_length (5.1.1) lies outside 16..65,536, with the PDUs ahead of it in `before`; the
        stream is then lost. Nothing is ever allocated by a length from the wire.
        """
        if self._waiting:
            self._pieces.append(data)
            self._waiting += len(data)
            # Joining only once enough is there keeps one-octet reads linear.
            if self._waiting < self._wanted:
                return []
            data = b"".join(self._pieces)
        return self._cut(data)

    def _cut(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        at, end = 0, len(data)
        unpack = _HEADER.unpack_from
        while end - at >= LEAST_OCTETS:
            length, command, status, sequence = unpack(data, at)
            if not LEAST_OCTETS <= length <= MOST_OCTETS:
                raise _lost(length, frames)
            if end - at < length:
                break
            frames.append((command, status, sequence, data[at + LEAST_OCTETS : at + length]))
            at += length
        rest = data[at:]
        self._pieces = [rest] if rest else []
        self._waiting = len(rest)
        self._wanted = _LENGTH.size
        if self._waiting >= _LENGTH.size:
            # Judged before the rest of the header came: a wrong port ("HTTP") or a length below 16 need not wait for the read timer.
            (self._wanted,) = _LENGTH.unpack_from(rest)
            if not LEAST_OCTETS <= self._wanted <= MOST_OCTETS:
                raise _lost(self._wanted, frames)
        return frames


def _lost(length: int, frames: list[Frame]) -> RemoteProtocolError:
    return RemoteProtocolError(f"command_length {length} is outside {LEAST_OCTETS}..{MOST_OCTETS}", frames)
