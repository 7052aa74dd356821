"""Phone numbers at rest: one 16-byte token each, readable only with the vault key.

A number is enciphered as one AES-256 block holding the number and eight bytes of redundancy (encode-then-encipher, Bellare and
Rogaway 2000). The same number always gives the same token, so the database can join and look up on it; without the key a token says
nothing; a token that was altered fails its redundancy. The key lives in a file outside the database.

Subscribers' texts name other people's numbers, so they are sealed too: AES-SIV (RFC 5297) under a key of its own, derived from the
vault key. It takes no nonce, so the same text is always sealed alike, and one that comes again is known without opening any.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import struct
import sys
from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broadcaster.errors import ConfigurationError, StoreError
from broadcaster.lang import Said
from broadcaster.model import Msisdn, Token

_BLOCK = 16
_REDUNDANCY = b"msisdn-1"
_REDUNDANCY_WORD = int.from_bytes(_REDUNDANCY, "big")
FORGOTTEN = Msisdn(0)
"""What stands for a number that was erased on its owner's wish."""
_FORGOTTEN_HEAD = bytes(8)
FIRST_TOKEN = _FORGOTTEN_HEAD[:-1] + b"\1" + bytes(8)
"""What is below this, as bytes, is no number's token but the mark of `forgotten_token`."""


def forgotten_token(message_id: int) -> Token:
    """Return what takes the token's place in a message whose number was erased; each message has its own, lest two be joined."""
    return cast("Token", _FORGOTTEN_HEAD + message_id.to_bytes(8, "big"))


_SEALED = "sealed:"


class Vault:
    """Turn numbers into tokens and back, in bulk (about a microsecond each)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305  one block, never chained: see the module text
        self._key = key

    def __repr__(self) -> str:
        return f"Vault({self.fingerprint[:8]})"

    @property
    def fingerprint(self) -> str:
        """A public name of the key, kept in the database to tell a wrong key file at once."""
        return hashlib.sha256(b"broadcaster-vault-fingerprint" + self._key).hexdigest()

    def tokens(self, numbers: Sequence[Msisdn] | Sequence[int]) -> list[Token]:
        """Encipher numbers; the result has the same order."""
        # Filled in bulk: packing one block after the other takes several times as long.
        words = array("Q", bytes(_BLOCK * len(numbers)))
        words[::2] = array("Q", numbers)
        words[1::2] = array("Q", [_REDUNDANCY_WORD]) * len(numbers)
        if sys.byteorder == "little":
            words.byteswap()
        encryptor = self._cipher.encryptor()
        sealed = encryptor.update(words.tobytes()) + encryptor.finalize()
        return cast("list[Token]", [sealed[at : at + _BLOCK] for at in range(0, len(sealed), _BLOCK)])

    def token(self, number: Msisdn | int) -> Token:
        return self.tokens([number])[0]

    def reveal(self, tokens: Iterable[bytes]) -> list[Msisdn]:
        """Decipher tokens; the result has the same order. Raises `StoreError` when one was altered or belongs to another key."""
        decryptor = self._cipher.decryptor()
        sealed = list(tokens)
        opened = decryptor.update(b"".join(sealed))
        pairs = list(struct.iter_unpack(">Q8s", opened))
        if len(pairs) != len(sealed) or any(redundancy != _REDUNDANCY for _, redundancy in pairs):
            raise StoreError(
                Said("Một mã thuê bao đã bị sửa hoặc thuộc khóa khác.", "A subscriber's token was altered or belongs to another key.")
            )
        return [Msisdn(number) for number, _ in pairs]

    @cached_property
    def _texts(self) -> AESSIV:
        return AESSIV(HKDF(hashes.SHA256(), 64, salt=None, info=b"broadcaster-texts-v1").derive(self._key))

    def seal_text(self, text: str) -> str:
        """Return the text sealed, as one word; the same text always gives the same. An empty text stays as it is."""
        if not text:
            return text
        return _SEALED + base64.b64encode(self._texts.encrypt(text.encode("utf-8", "surrogatepass"), None)).decode()

    def open_text(self, sealed: str) -> str:
        """Return the text of one or more sealed pieces with spaces between; what was never sealed comes back as it is.

        Raises `StoreError` when a piece was altered or belongs to another key.
        """
        if not sealed.startswith(_SEALED):
            return sealed
        try:
            pieces = [base64.b64decode(piece.removeprefix(_SEALED), validate=True) for piece in sealed.split()]
            return "".join(self._texts.decrypt(piece, None).decode("utf-8", "surrogatepass") for piece in pieces)
        except (ValueError, InvalidTag) as error:
            raise StoreError(
                Said("Một tin đến đã bị sửa hoặc thuộc khóa khác.", "A subscriber's text was altered or belongs to another key.")
            ) from error

    def recall(self, tokens: Iterable[bytes]) -> list[Msisdn]:
        """Decipher tokens of messages that were sent long ago, to look at them: as `reveal`, with `FORGOTTEN` for what was erased."""
        listed = list(tokens)
        numbers = iter(self.reveal(token for token in listed if token >= FIRST_TOKEN))
        return [next(numbers) if token >= FIRST_TOKEN else FORGOTTEN for token in listed]


def commitment(numbers: Iterable[int], salt: bytes) -> str:
    """Return a salted commitment over a set of numbers, whatever their order and repetition; a new vault key does not void it."""
    return commitment_of_blocks([array("Q", numbers)], salt)


def commitment_of_blocks(blocks: Sequence[array[int]], salt: bytes) -> str:
    """Return the `commitment` over numbers in blocks: all of one block below all of the next, within a block in any order."""
    total = hashlib.sha256(b"broadcaster-roster-v1" + salt)
    for block in blocks:
        ordered = array("Q", [number for number, _ in groupby(sorted(block))])
        if sys.byteorder == "little":
            ordered.byteswap()
        total.update(ordered)
    return total.hexdigest()


def write_key_file(path: Path, key: bytes | None = None) -> None:
    """Write a 32-byte key, by default a new one; refuses to overwrite, since a lost key makes every number unreadable."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigurationError(Said(f"{path}: đã có tệp khóa.", f"{path}: a key file is already there.")) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(key or secrets.token_bytes(32)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_key_file(path: Path) -> bytes:
    """Return the 32 bytes of a key file. Raises `ConfigurationError` when it is missing, damaged or readable by others."""
    try:
        mode = path.stat().st_mode
        key = base64.b64decode(path.read_bytes(), validate=False)
    except FileNotFoundError as error:
        raise ConfigurationError(Said(f"{path}: không có tệp khóa.", f"{path}: there is no key file.")) from error
    except OSError as error:
        raise ConfigurationError(Said(f"{path}: không đọc được tệp khóa.", f"{path}: the key file cannot be read.")) from error
    except ValueError as error:
        raise ConfigurationError(Said(f"{path}: tệp khóa hỏng.", f"{path}: the key file is damaged.")) from error
    if mode & 0o077:
        raise ConfigurationError(
            Said(f"{path}: người khác đọc được tệp khóa này.", f"{path}: others can read this key file."),
            Said(f"Chạy: chmod 600 {path}", f"Run: chmod 600 {path}"),
        )
    if len(key) != 32:
        raise ConfigurationError(Said(f"{path}: khóa phải dài 32 byte.", f"{path}: the key must be 32 bytes."))
    return key
