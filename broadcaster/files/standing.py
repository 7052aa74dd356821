"""Read the system's own test texts, and read and write the standing approval (``standing.toml``) that lets them go out."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, field_validator

from broadcaster.errors import ConfigurationError
from broadcaster.files.tomlfile import Table, load
from broadcaster.lang import Said
from broadcaster.model import Environment, Variant
from broadcaster.rules.standing import StandingApproval
from broadcaster.text.compose import compose

STANDING_FILE: Final = "standing.toml"
CHECK_TEXTS: Final = Path("system") / "kiem-tra-ket-noi.toml"
"""Where the test texts are, under the folder of templates."""

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1, max_length=600, pattern=r"^[^\r\n]*$")]


class _Spellings(Table):
    accented: _Text
    unaccented: _Text


class _CheckTexts(Table):
    version: Annotated[int, Field(ge=1)]
    title: _Text
    purpose: Literal["check"]
    one_part: _Spellings
    three_parts: _Spellings


class _Standing(Table):
    environment: Environment
    sender: Annotated[str, Field(min_length=1, max_length=11)]
    until: dt.date
    daily: Annotated[int, Field(ge=1)]
    person: Annotated[str, Field(min_length=1, max_length=40)]
    signed_at: AwareDatetime
    signature: str
    texts: Annotated[dict[str, _Digest], Field(min_length=1)]

    @field_validator("signature")
    @classmethod
    def _octets(cls, text: str) -> str:
        try:
            base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError(Said(vi="phải là chữ ký viết bằng base64", en="must be a signature in base64")) from None
        return text


def read_check_texts(templates_folder: Path, environment: Environment) -> dict[str, str]:
    """Return the test texts as they go out, by name: ``accented-1``, ``unaccented-1``, ``accented-3``, ``unaccented-3``.

    Raises `ConfigurationError` or `InvalidFileError`.
    """
    file = load(templates_folder / CHECK_TEXTS, _CheckTexts)
    return {
        f"{variant}-{parts}": compose(
            spellings.accented if variant is Variant.ACCENTED else spellings.unaccented,
            variant=variant,
            rehearsal=environment is Environment.REHEARSAL,
            footer=None,
        )
        for parts, spellings in ((1, file.one_part), (3, file.three_parts))
        for variant in Variant
    }


def read_standing(path: Path) -> StandingApproval | None:
    """Return the standing approval, None when there is no such file. Raises `ConfigurationError` or `InvalidFileError`."""
    if not path.exists():
        return None
    file = load(path, _Standing)
    return StandingApproval(
        environment=file.environment,
        sender=file.sender,
        texts=file.texts,
        until=file.until,
        daily=file.daily,
        person=file.person,
        signed_at=file.signed_at,
        signature=base64.b64decode(file.signature),
    )


def write_standing(path: Path, approval: StandingApproval) -> None:
    """Write the standing approval in one step, mode 0600. Raises `ConfigurationError` when the file cannot be written."""
    values: Mapping[str, object] = {
        "environment": str(approval.environment),
        "sender": approval.sender,
        "until": approval.until,
        "daily": approval.daily,
        "person": approval.person,
        "signed_at": approval.signed_at.astimezone(dt.UTC).isoformat(timespec="seconds"),
        "signature": base64.b64encode(approval.signature).decode(),
    }
    lines = ["# Phê duyệt thường trực cho tin thử kết nối, tạo bằng `broadcaster carrier approve-check`; sửa tay là mất hiệu lực."]
    # A JSON string without control characters is a TOML basic string.
    lines += [f"{key} = {json.dumps(value) if isinstance(value, str) else value}" for key, value in values.items()]
    lines += ["", "[texts]", *(f'{name} = "{digest}"' for name, digest in sorted(approval.texts.items())), ""]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text("\n".join(lines), encoding="utf-8")
        draft.chmod(0o600)
        draft.replace(path)
    except OSError as error:
        raise ConfigurationError(
            Said(vi=f"không ghi được {path}: {error.strerror}", en=f"cannot write {path}: {error.strerror}")
        ) from error
