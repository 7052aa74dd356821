"""How a simulated carrier behaves: the values, the TOML script they are read from, and the draws that follow from its seed.

A script has these tables and keys, all optional::

    seed = 1  # same seed, same choices

    [bind]
    refuse_status = 0x0D  # refuse every bind with this command_status

    [response]
    id = "decimal"  # decimal, hex, upper, padded, uuid or long
    first = 1000  # the number of the first message; without it numbers go on from the wall clock
    delay_ms = [0, 0]  # shortest and longest
    drop_share = 0.0  # accepted, but never answered

    [receipt]
    id = "decimal"  # uuid exactly when the response has uuid
    by = "both"  # tlv, text or both
    delay_ms = [100, 2000]
    undeliverable_share = 0.0  # what is neither of these two is delivered
    expired_share = 0.0
    missing_share = 0.0  # accepted, but no receipt ever comes
    duplicate_share = 0.0  # sent twice
    before_response_share = 0.0  # sent ahead of submit_sm_resp

    [throttle]
    tps = 100  # RTHROTTLED above so many submits in any second
    every_s = 0  # 0: always; else once in so many seconds …
    for_s = 0  # … for so many

    [refuse]
    share = 0.0  # of the numbers, always the same ones
    status = 0x0B

    [reply]
    share = 0.0  # of the subscribers, who text back a refusal
    delay_ms = [200, 2000]  # after the message reached them

    [disconnect]
    after = 1000  # submits; once

and beside them as many ``[[fault]]`` as wanted (faults.py).
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.lang import Said
from broadcaster.link.faults import Fault, read_faults
from broadcaster.link.script import SHARE, STATUS, IdForm, SpanMs, WrongValueError, choice, number, span, whole


class ReceiptBy(StrEnum):
    """Where a receipt says what it says."""

    TLV = "tlv"
    TEXT = "text"
    BOTH = "both"


_AT_ONCE: Final = SpanMs(0, 0)
_RECEIPT_DELAY: Final = SpanMs(100, 2000)
_REPLY_DELAY: Final = SpanMs(200, 2000)


@dataclass(frozen=True, slots=True)
class Temperament:
    """Everything a simulated carrier may do; the defaults are a carrier without fault."""

    seed: int = 1
    refuse_bind_status: int | None = None
    response_id: IdForm = IdForm.DECIMAL
    first_number: int | None = None
    response_delay_ms: SpanMs = _AT_ONCE
    drop_response_share: float = 0.0
    receipt_id: IdForm = IdForm.DECIMAL
    receipt_by: ReceiptBy = ReceiptBy.BOTH
    receipt_delay_ms: SpanMs = _RECEIPT_DELAY
    undeliverable_share: float = 0.0
    expired_share: float = 0.0
    missing_share: float = 0.0
    duplicate_share: float = 0.0
    before_response_share: float = 0.0
    throttle_tps: int | None = None
    throttle_every_s: float = 0.0
    throttle_for_s: float = 0.0
    refuse_share: float = 0.0
    refuse_status: int = 0x0B
    reply_share: float = 0.0
    reply_delay_ms: SpanMs = _REPLY_DELAY
    disconnect_after: int | None = None
    faults: tuple[Fault, ...] = ()


class Lot(NamedTuple):
    """What a number was born to; the same seed always gives it the same lot. Chances in [0, 1)."""

    refuse: float
    reply: float
    outcome: float


def draw(seed: int, number: str) -> Lot:
    """Draw the lot of one number."""
    digest = hashlib.blake2b(number.encode(), digest_size=12, salt=seed.to_bytes(8, "big")).digest()
    thirds = (int.from_bytes(digest[start : start + 4], "big") / 2**32 for start in (0, 4, 8))
    return Lot(*thirds)


def spell_id(form: IdForm, number: int) -> str:
    """Spell a message number as the carrier does."""
    if form is IdForm.DECIMAL:
        return str(number)
    if form is IdForm.HEX:
        return f"{number:x}"
    if form is IdForm.UPPER:
        return f"{number:X}"
    if form is IdForm.PADDED:
        return f"{number:020d}"
    if form is IdForm.LONG:
        return f"{number:070d}"
    mark = f"{number:032x}"
    return f"{mark[:8]}-{mark[8:12]}-{mark[12:16]}-{mark[16:20]}-{mark[20:]}"


_KEYS: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "seed": ("seed", whole(0, 2**63 - 1)),
    "bind.refuse_status": ("refuse_bind_status", STATUS),
    "response.id": ("response_id", choice(tuple(IdForm))),
    "response.first": ("first_number", whole(1, 2**62)),
    "response.delay_ms": ("response_delay_ms", span),
    "response.drop_share": ("drop_response_share", SHARE),
    "receipt.id": ("receipt_id", choice(tuple(IdForm))),
    "receipt.by": ("receipt_by", choice(tuple(ReceiptBy))),
    "receipt.delay_ms": ("receipt_delay_ms", span),
    "receipt.undeliverable_share": ("undeliverable_share", SHARE),
    "receipt.expired_share": ("expired_share", SHARE),
    "receipt.missing_share": ("missing_share", SHARE),
    "receipt.duplicate_share": ("duplicate_share", SHARE),
    "receipt.before_response_share": ("before_response_share", SHARE),
    "throttle.tps": ("throttle_tps", whole(1, 1_000_000)),
    "throttle.every_s": ("throttle_every_s", number(86_400)),
    "throttle.for_s": ("throttle_for_s", number(86_400)),
    "refuse.share": ("refuse_share", SHARE),
    "refuse.status": ("refuse_status", STATUS),
    "reply.share": ("reply_share", SHARE),
    "reply.delay_ms": ("reply_delay_ms", span),
    "disconnect.after": ("disconnect_after", whole(1, 2**63 - 1)),
}
_TABLES: Final = frozenset(key.partition(".")[0] for key in _KEYS if "." in key)


def read_temperament(path: Path) -> Temperament:
    """Read a script. Raises ConfigurationError when it cannot be read, InvalidFileError with all its problems."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            Said(vi=f"không đọc được {path}: {error.strerror}", en=f"cannot read {path}: {error.strerror}")
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidFileError([Problem(str(path), Said(vi="tệp không phải UTF-8", en="the file is not UTF-8"))]) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+)", str(error))
        message = Said(vi=f"sai cú pháp TOML ({error})", en=f"TOML syntax error: {error}")
        raise InvalidFileError([Problem(str(path), message, int(place[1]) if place else None)]) from error
    lines = _lines_of_keys(text)
    faults, problems = read_faults(document.pop("fault", []), str(path), lines)
    values: dict[str, Any] = {}
    for key, value in _flat(document).items():
        try:
            field, read = _known(key)
            values[field] = read(value)
        except WrongValueError as wrong:
            problems.append(Problem(str(path), wrong.expected, lines.get(key), key))
    problems += [Problem(str(path), message, lines.get(key), key) for key, message in _contradictions(values)]
    if problems:
        raise InvalidFileError(problems)
    return Temperament(**values, faults=tuple(faults))


def _known(key: str) -> tuple[str, Callable[[Any], object]]:
    if key in _KEYS:
        return _KEYS[key]
    if key in _TABLES:
        raise WrongValueError(Said(vi="phải là một bảng, ví dụ [refuse]", en="must be a table, such as [refuse]"))
    listed = ", ".join(_KEYS)
    raise WrongValueError(Said(vi=f"khóa không có; các khóa được phép: {listed}", en=f"unknown key; allowed keys: {listed}"))


def _contradictions(values: Mapping[str, Any]) -> list[tuple[str, Said]]:
    """Return what is wrong between keys that are each right."""
    found: list[tuple[str, Said]] = []
    forms = {values.get("response_id", IdForm.DECIMAL), values.get("receipt_id", IdForm.DECIMAL)}
    if IdForm.UUID in forms and len(forms) > 1:
        found.append(
            ("receipt.id", Said(vi="uuid phải dùng cho cả response và receipt", en="uuid must be used for both response and receipt"))
        )
    if values.get("undeliverable_share", 0.0) + values.get("expired_share", 0.0) > 1:
        found.append(
            (
                "receipt.expired_share",
                Said(vi="cộng với undeliverable_share không được quá 1", en="together with undeliverable_share at most 1"),
            )
        )
    if values.get("throttle_for_s", 0.0) > values.get("throttle_every_s", 0.0):
        found.append(("throttle.for_s", Said(vi="không được lớn hơn every_s", en="must not be greater than every_s")))
    return found


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys of the top level and of each known table; anything deeper stays a value."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if key in _TABLES and isinstance(value, dict):
            flat |= {f"{key}.{inner}": deeper for inner, deeper in value.items()}
        else:
            flat[key] = value
    return flat


def _lines_of_keys(text: str) -> dict[str, int]:
    lines: dict[str, int] = {}
    arrays: Counter[str] = Counter()
    table = ""
    for at, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[\s*([\w-]+)\s*\]\]", line):
            arrays[header[1]] += 1
            lines.setdefault(header[1], at)
            lines[f"{header[1]}[{arrays[header[1]]}]"] = at
            table = f"{header[1]}[{arrays[header[1]]}]."
        elif header := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            table = header[1] + "."
            lines.setdefault(header[1], at)
        elif assignment := re.match(r"\s*([\w-]+(?:\.[\w-]+)?)\s*=", line):
            lines.setdefault(table + assignment[1], at)
    return lines
