"""Sum up a stream of octets while it is read, so that a checksum in its own last line can be verified."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import zipfile
import zlib
from typing import BinaryIO, Final

from broadcaster.errors import InvalidFileError, Problem
from broadcaster.lang import Said

_LAST_LINE_BYTES: Final = 8192

DAMAGE: Final = (
    *(gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, LookupError, RuntimeError, NotImplementedError, ValueError),
)
"""What the unpackers of the standard library raise at a damaged file, or under a wrong password."""


def damaged(name: str) -> InvalidFileError:
    """Return the error for a packed file that cannot be unpacked."""
    message = Said(
        "tệp nén (gz, zip) hỏng hoặc bị cắt cụt, hoặc sai mật khẩu",
        "the packed file (gz, zip) is damaged or cut short, or the password is wrong",
    )
    return InvalidFileError([Problem(name, message)])


class TrailerSum(io.RawIOBase):
    """A stream that passes on what it reads, and knows the SHA-256 of all that came before a last line."""

    def __init__(self, stream: BinaryIO, name: str, damage: tuple[type[Exception], ...]) -> None:
        """Read `stream`; `damage` is what it raises when what it unpacks is damaged, told as an error of the file `name`."""
        super().__init__()
        self._stream, self._name, self._damage = stream, name, damage
        self._summed = hashlib.sha256()
        self._tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the base takes any writable buffer
        try:
            data = self._stream.read(len(buffer))
        except self._damage:
            raise damaged(self._name) from None
        buffer[: len(data)] = data
        self._tail += data
        self._summed.update(self._tail[:-_LAST_LINE_BYTES])
        self._tail = self._tail[-_LAST_LINE_BYTES:]
        return len(data)

    def before(self, marker: str) -> str | None:
        """Return the SHA-256 (hexadecimal) of everything before the line that holds the last `marker`, None where there is none."""
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            at = self._tail.rfind(marker.encode(encoding))
            if at < 0:
                continue
            newline = "\n".encode(encoding)
            before = self._tail.rfind(newline, 0, at)
            total = self._summed.copy()
            total.update(self._tail[: before + len(newline) if before >= 0 else 0])
            return total.hexdigest()
        return None
