"""Read one TOML file into one pydantic model, and say everything that is wrong with it at once.

Every file the department writes (carrier cards, campaign orders, templates, settings) goes through here. A model used here should
derive from `Table`. TOML values are checked strictly: ``"5"`` is not a number, ``1`` is not true, but a string may name an enum
member and an array may fill a tuple. Values never appear in messages, because some of them are secrets.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.lang import Said

MAX_BYTES: Final = 1024 * 1024

M = TypeVar("M", bound=BaseModel)
_Path = tuple[str | int, ...]


class Table(BaseModel):
    """Be the base of a model read from TOML: unknown keys are errors, values are frozen, numbers are finite.

    A validator says what is wrong by ``raise ValueError(Said(vi=…, en=…))``. Values arrive as JSON would carry them, so a
    ``mode="before"`` validator sees dates and times as ISO strings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def load(path: Path, model: type[M]) -> M:
    """Read `path` and return it as `model`.

    Raises `ConfigurationError` when the file is missing, unreadable or over 1 MiB, `InvalidFileError` with every problem otherwise.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(Said(vi=f"không tìm thấy tệp {path}", en=f"file not found: {path}")) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(Said(vi=f"không đọc được tệp {path}: {reason}", en=f"cannot read {path}: {reason}")) from error
    if len(data) > MAX_BYTES:
        raise ConfigurationError(Said(vi=f"tệp {path} lớn hơn 1 MiB", en=f"{path} is larger than 1 MiB"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = Said(vi="tệp không phải UTF-8", en="the file is not UTF-8")
        raise InvalidFileError([Problem(str(path), message, line)]) from error
    return parse(text, str(path), model)


def parse(text: str, name: str, model: type[M]) -> M:
    """Return the TOML `text` as `model`; `name` stands for the file in problems. Raises `InvalidFileError`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidFileError([_syntax_problem(error, text, name)]) from error
    try:
        # The JSON road is the one on which pydantic is strict about scalars and still fills enums, tuples and dates.
        return model.model_validate_json(json.dumps(document, default=_iso), strict=True)
    except ValidationError as error:
        lines = _lines_of_keys(text)
        problems = [_problem(detail, model, name, lines) for detail in error.errors(include_url=False, include_input=False)]
        raise InvalidFileError(sorted(problems, key=lambda problem: problem.line or 0)) from None


def _iso(value: object) -> str:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str, name: str) -> Problem:
    place = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
    line = int(place[1]) if place and place[1] else max(1, len(text.splitlines()))
    detail = re.sub(r"\s*\(at [^)]*\)$", "", str(error))
    column_vi, column_en = (f" ở cột {place[2]}", f" at column {place[2]}") if place and place[2] else ("", "")
    return Problem(name, Said(vi=f"sai cú pháp TOML{column_vi} ({detail})", en=f"TOML syntax error{column_en}: {detail}"), line)


def _problem(detail: ErrorDetails, model: type[BaseModel], name: str, lines: Mapping[_Path, int]) -> Problem:
    path = detail["loc"]
    line = next((lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines), None)
    message = _unknown_key(path, model) if detail["type"] == "extra_forbidden" else _message(detail)
    return Problem(name, message, line, _dotted(path) or None)


def _dotted(path: _Path) -> str:
    return "".join(f"[{step + 1}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _unknown_key(path: _Path, model: type[BaseModel]) -> Said:
    known = sorted(_keys_at(path[:-1], model))
    listed = ", ".join(known)
    near = get_close_matches(str(path[-1]), known, n=1)
    meant_vi, meant_en = (f" (có phải là {near[0]}?)", f" (did you mean {near[0]}?)") if near else ("", "")
    return Said(
        vi=f"khóa không có{meant_vi}; các khóa được phép: {listed}",
        en=f"unknown key{meant_en}; allowed keys: {listed}",
    )


def _keys_at(path: _Path, model: type[BaseModel]) -> set[str]:
    """Return the keys allowed in the table at `path` (empty where the type cannot be followed)."""
    models = [model]
    for step in path:
        if isinstance(step, int):
            continue
        inner: list[type[BaseModel]] = []
        for candidate in models:
            for key, field in candidate.model_fields.items():
                if step in (key, field.alias):
                    inner += _models_in(field.annotation)
        # A step that names no field is the free key of a mapping: the models stay.
        models = inner or models
    return {field.alias or key for candidate in models for key, field in candidate.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


_EXPECTED: Final[Mapping[str, Said]] = {
    "missing": Said(vi="thiếu khóa bắt buộc", en="required key is missing"),
    "string_type": Said(vi="phải là chuỗi trong dấu nháy", en="must be a string in quotes"),
    "int_type": Said(vi="phải là số nguyên", en="must be a whole number"),
    "int_from_float": Said(vi="phải là số nguyên", en="must be a whole number"),
    "float_type": Said(vi="phải là số", en="must be a number"),
    "finite_number": Said(vi="phải là số hữu hạn", en="must be a finite number"),
    "bool_type": Said(vi="phải là true hoặc false", en="must be true or false"),
    "list_type": Said(vi="phải là mảng […]", en="must be an array […]"),
    "tuple_type": Said(vi="phải là mảng […]", en="must be an array […]"),
    "set_type": Said(vi="phải là mảng […]", en="must be an array […]"),
    "frozen_set_type": Said(vi="phải là mảng […]", en="must be an array […]"),
    "dict_type": Said(vi="phải là bảng khóa = giá trị", en="must be a table of key = value"),
    "model_type": Said(vi="phải là bảng khóa = giá trị", en="must be a table of key = value"),
    "date_type": Said(vi="phải là ngày dạng 2026-01-31", en="must be a date such as 2026-01-31"),
    "date_parsing": Said(vi="phải là ngày dạng 2026-01-31", en="must be a date such as 2026-01-31"),
    "date_from_datetime_parsing": Said(vi="phải là ngày dạng 2026-01-31", en="must be a date such as 2026-01-31"),
    "date_from_datetime_inexact": Said(
        vi="phải là ngày dạng 2026-01-31, không kèm giờ", en="must be a date such as 2026-01-31, without time"
    ),
    "time_type": Said(vi="phải là giờ dạng 07:30:00", en="must be a time such as 07:30:00"),
    "time_parsing": Said(vi="phải là giờ dạng 07:30:00", en="must be a time such as 07:30:00"),
    "datetime_type": Said(
        vi="phải là thời điểm dạng 2026-01-31T07:30:00+07:00", en="must be a moment such as 2026-01-31T07:30:00+07:00"
    ),
    "datetime_parsing": Said(
        vi="phải là thời điểm dạng 2026-01-31T07:30:00+07:00", en="must be a moment such as 2026-01-31T07:30:00+07:00"
    ),
    "datetime_from_date_parsing": Said(
        vi="phải là thời điểm dạng 2026-01-31T07:30:00+07:00", en="must be a moment such as 2026-01-31T07:30:00+07:00"
    ),
    "timezone_aware": Said(vi="phải ghi múi giờ, ví dụ +07:00", en="must carry a time zone, such as +07:00"),
}

_EXPECTED_WITH: Final[Mapping[str, Said]] = {
    "enum": Said(vi="phải là một trong: {expected}", en="must be one of: {expected}"),
    "literal_error": Said(vi="phải là một trong: {expected}", en="must be one of: {expected}"),
    "greater_than": Said(vi="phải lớn hơn {gt}", en="must be greater than {gt}"),
    "greater_than_equal": Said(vi="phải từ {ge} trở lên", en="must be at least {ge}"),
    "less_than": Said(vi="phải nhỏ hơn {lt}", en="must be less than {lt}"),
    "less_than_equal": Said(vi="không được quá {le}", en="must be at most {le}"),
    "multiple_of": Said(vi="phải là bội số của {multiple_of}", en="must be a multiple of {multiple_of}"),
    "string_too_short": Said(vi="phải có ít nhất {min_length} ký tự", en="must have at least {min_length} characters"),
    "string_too_long": Said(vi="không được quá {max_length} ký tự", en="must have at most {max_length} characters"),
    "string_pattern_mismatch": Said(vi="phải đúng mẫu {pattern}", en="must match {pattern}"),
    "too_short": Said(vi="phải có ít nhất {min_length} phần tử", en="must have at least {min_length} items"),
    "too_long": Said(vi="không được quá {max_length} phần tử", en="must have at most {max_length} items"),
}


def _message(detail: ErrorDetails) -> Said:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _EXPECTED_WITH:
        # pydantic joins choices with an English "or".
        values_vi = {key: str(value).replace(" or ", ", ") for key, value in context.items()}
        pattern = _EXPECTED_WITH[kind]
        return Said(vi=pattern.vi.format(**values_vi), en=pattern.en.format(**context))
    cause = context.get("error")
    if isinstance(cause, Exception) and cause.args and isinstance(cause.args[0], Said):
        return cause.args[0]
    return Said(vi=f"giá trị không hợp lệ ({detail['msg']})", en=detail["msg"])


_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED_KEY: Final = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER: Final = re.compile(rf"\s*(\[\[?)\s*({_DOTTED_KEY})\s*\]")
_ASSIGNMENT: Final = re.compile(rf"\s*({_DOTTED_KEY})\s*=\s*(.*)")


def _lines_of_keys(text: str) -> dict[_Path, int]:
    """Return the 1-based line of every key and table header that stands at the start of a line; good enough for messages."""
    lines: dict[_Path, int] = {}
    counts: dict[_Path, int] = {}
    table: _Path = ()
    closing: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            closing = None if closing in line else closing
        elif header := _HEADER.match(line):
            table = _enter(header[2], counts, repeated=header[1] == "[[")
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault(table + _steps(assignment[1]), number)
            closing = next(
                (quote for quote in ('"""', "'''") if assignment[2].startswith(quote) and quote not in assignment[2][3:]), None
            )
    return lines


def _enter(dotted: str, counts: dict[_Path, int], *, repeated: bool) -> _Path:
    """Return the path of a table header, with the index of the current element after each array of tables on the way."""
    path: _Path = ()
    steps = _steps(dotted)
    for position, step in enumerate(steps, 1):
        path += (step,)
        if repeated and position == len(steps):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def _steps(dotted: str) -> tuple[str, ...]:
    return tuple(step[1:-1] if step[0] in "\"'" else step for step in re.findall(_KEY, dotted))
