"""Read and extend the register of people who may sign (``people.toml``), and keep their private keys (Ed25519, RFC 8032)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Annotated, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, field_validator

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem, RefusedError
from broadcaster.files.places import line_of
from broadcaster.files.tomlfile import Table, load, parse
from broadcaster.lang import Said
from broadcaster.model import Person, Role

PUBLIC_KEY_OCTETS: Final = 32


class _PersonEntry(Table):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    title: Annotated[str, Field(min_length=1, max_length=120)]
    roles: Annotated[frozenset[Role], Field(min_length=1)]
    public_key: str

    @field_validator("public_key")
    @classmethod
    def _is_key(cls, text: str) -> str:
        try:
            octets = base64.b64decode(text, validate=True)
        except binascii.Error:
            octets = b""
        if len(octets) != PUBLIC_KEY_OCTETS:
            raise ValueError(
                Said(
                    vi="phải là khóa công khai Ed25519 (32 byte) viết bằng base64",
                    en="must be an Ed25519 public key (32 bytes) in base64",
                )
            )
        return text


class _PeopleFile(Table):
    person: tuple[_PersonEntry, ...] = ()


def read_people(path: Path) -> dict[str, Person]:
    """Return the people of a register by name. Raises `ConfigurationError` or `InvalidFileError`."""
    return _people(path, load(path, _PeopleFile))


def add_person(path: Path, person: Person) -> None:
    """Append a person to the register (made if absent), as one atomic write with mode 0600.

    Raises `RefusedError` when the name or the key is already there, `InvalidFileError` when the file or the entry is not sound.
    """
    people = read_people(path) if path.exists() else {}
    for other in people.values():
        if other.name == person.name:
            raise RefusedError(Said(vi=f"đã có {person.name} trong {path}", en=f"{person.name} is already in {path}"))
        if other.public_key == person.public_key:
            raise RefusedError(
                Said(
                    vi=f"khóa này đã là của {other.name}; mỗi người phải có khóa riêng",
                    en=f"this key already belongs to {other.name}; everyone needs a key of their own",
                )
            )
    before = path.read_text("utf-8-sig") if people else ""
    text = before + ("\n" if before else "") + _entry(person)
    parse(text, str(path), _PeopleFile)
    _write_whole(path, text.encode())


def generate_key() -> Ed25519PrivateKey:
    """Return a new signing key."""
    return Ed25519PrivateKey.generate()


def public_key_of(key: Ed25519PrivateKey) -> bytes:
    """Return the raw 32-byte public half of a signing key."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def write_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key as PKCS #8 PEM with mode 0600. Raises `RefusedError` when the file exists."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RefusedError(
            Said(vi=f"tệp khóa {path} đã có, không ghi đè", en=f"the key file {path} exists and is not overwritten")
        ) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the signing key in `path`. Raises `ConfigurationError` when others may read the file or it holds no Ed25519 key."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigurationError(
                Said(
                    vi=f"tệp khóa {path} phải có quyền 0600 hoặc chặt hơn, đang là {mode:04o}",
                    en=f"the key file {path} must have mode 0600 or stricter, it has {mode:04o}",
                ),
                Said(vi=f"chạy: chmod 600 {path}", en=f"run: chmod 600 {path}"),
            )
        pem = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            Said(vi=f"không đọc được tệp khóa {path}: {reason}", en=f"cannot read the key file {path}: {reason}")
        ) from error
    key = None
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):
        key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            Said(
                vi=f"{path} không chứa khóa riêng Ed25519 dạng PEM (PKCS #8)",
                en=f"{path} holds no Ed25519 private key in PEM (PKCS #8)",
            )
        )
    return key


def _people(path: Path, file: _PeopleFile) -> dict[str, Person]:
    people: dict[str, Person] = {}
    owners: dict[bytes, str] = {}
    problems: list[Problem] = []
    for number, entry in enumerate(file.person, 1):
        key = base64.b64decode(entry.public_key)
        if entry.name in people:
            message = Said(vi=f"tên {entry.name} lặp lại", en=f"the name {entry.name} is there twice")
            problems.append(Problem(str(path), message, line_of(path, entry.name, last=True), f"person[{number}].name"))
        # One key under two names would let one person sign twice.
        if key in owners:
            message = Said(vi=f"khóa này đã là của {owners[key]}", en=f"this key already belongs to {owners[key]}")
            problems.append(Problem(str(path), message, line_of(path, entry.public_key, last=True), f"person[{number}].public_key"))
        owners[key] = entry.name
        people[entry.name] = Person(entry.name, entry.title, entry.roles, key)
    if problems:
        raise InvalidFileError(problems)
    return people


def _entry(person: Person) -> str:
    # A JSON string without control characters is a TOML basic string.
    title = json.dumps(person.title, ensure_ascii=False)
    roles = ", ".join(f'"{role}"' for role in sorted(person.roles))
    key = base64.b64encode(person.public_key).decode()
    return f'[[person]]\nname = "{person.name}"\ntitle = {title}\nroles = [{roles}]\npublic_key = "{key}"\n'


def _write_whole(path: Path, data: bytes) -> None:
    """Replace `path` by a new file in one step; mkstemp gives it mode 0600."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
