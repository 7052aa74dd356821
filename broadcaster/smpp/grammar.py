"""The grammars in which carriers write receipts as text: the one of SMPP 3.4, appendix B, and foreign ones (F07).

The registry is closed: a carrier that writes otherwise needs a grammar here, a test of its own, and its name on the carrier's card.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

Fields: TypeAlias = tuple[str | None, ...]
"""id, sub, dlvrd, submit date, done date, stat, err, text; what is not there is None."""

NO_FIELDS: Final[Fields] = (None,) * 8
EDGES: Final = " \t\r\n\0,;|\"'"

_ID, _STAT, _TEXT = 0, 5, 7
_DATES: Final = frozenset({3, 4})


class Grammar(StrEnum):
    """How a carrier writes the text of a receipt."""

    SMPP = "smpp"
    """Named fields as in appendix B, in whatever order, spelling and number."""
    COMMA = "comma"
    """The values of appendix B in its order, without names, between commas."""


class Reading(NamedTuple):
    """What one grammar knows: how a receipt looks that nothing else marks as one (F08), and how to find its fields."""

    looks_like: re.Pattern[str]
    read: Callable[[str], Fields]


# The form of appendix B in one match; every other form with named fields goes the slower way of the scanner below.
COMMON: Final = re.compile(
    r"id:(\S+) sub:([0-9]{1,9}) dlvrd:([0-9]{1,9}) submit date:([0-9]+) done date:([0-9]+) stat:([A-Za-z]+) err:(\w+)"
    r"(?: [Tt]ext:(.*))?",
    re.DOTALL,
)

_FIELD: Final = re.compile(
    r"""(?<![a-z])(?:
        ((?:msg|message)?[ _-]?id) | (sub) | (dlvrd) | (submit[ _]?date) | (done[ _]?date)
        | (stat(?:us)?) | (err(?:or)?(?:[ _]?code)?) | (text)
    )\s*[:=]""",
    re.IGNORECASE | re.VERBOSE,
)

_POSITIONAL: Final = re.compile(
    r"""\s*["']?([^\s,"']+)["']?\s*,  \s*([0-9]{0,9})\s*,  \s*([0-9]{0,9})\s*,
        \s*["']?([0-9][0-9 :T/+-]*|)["']?\s*,  \s*["']?([0-9][0-9 :T/+-]*|)["']?\s*,
        \s*["']?(\w+)["']?\s*(?:,  \s*["']?(\w*)["']?\s*(?:,(.*))?)?""",
    re.VERBOSE | re.DOTALL,
)


def scan(raw: str) -> Fields:
    """Find named fields in whatever order and spelling; the first of a repeated field wins."""
    found: list[str | None] = list(NO_FIELDS)
    marks = list(_FIELD.finditer(raw))
    ends = [*(mark.start() for mark in marks[1:]), len(raw)]
    for mark, end in zip(marks, ends, strict=False):
        which = (mark.lastindex or 1) - 1
        if found[which] is not None:
            continue
        if which == _TEXT and found[_ID] is not None and found[_STAT] is not None:
            # The subscriber's copy of our text may hold anything, "id:" included.
            found[_TEXT] = raw[mark.end() :]
            break
        value = raw[mark.end() : end].strip(EDGES)
        if which not in _DATES and which != _TEXT:
            value = _first_word(value)
        found[which] = value or None
    return tuple(found)


def _read_smpp(raw: str) -> Fields:
    common = COMMON.fullmatch(raw)
    return common.groups() if common else scan(raw)


def _read_comma(raw: str) -> Fields:
    found = _POSITIONAL.fullmatch(raw)
    if found is None:
        return NO_FIELDS
    return tuple(value.strip() or None if value else None for value in found.groups())


def _first_word(value: str) -> str:
    words = re.split(r"[\s,;|]", value, maxsplit=1)
    return words[0].strip(EDGES)


GRAMMARS: Final = {
    Grammar.SMPP: Reading(re.compile(r"\s*id:\s*\S.*\bstat:", re.IGNORECASE | re.DOTALL), _read_smpp),
    Grammar.COMMA: Reading(_POSITIONAL, _read_comma),
}
