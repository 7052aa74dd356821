"""What a subscriber's reply means, a refusal, its withdrawal, a report of a scam or anything else; and how far a refusal goes.

Only a reply that is nothing but the command counts, polite words behind a refusal aside: the letters "TC" inside a sentence are no
refusal. Accents, case, spacing and
punctuation do not matter, except where accents change the word ("đúng" is not "dừng").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from broadcaster.text.fold import fold, nfc


class Kind(StrEnum):
    """What a reply asks for."""

    REFUSE = "refuse"
    ACCEPT = "accept"
    """Warnings are wanted again."""
    REPORT = "report"
    """A scam or spam report in the form of the national number 156/5656."""
    OTHER = "other"


class Scope(IntEnum):
    """Which warnings somebody refuses; a warning is refused by every scope above its class (ordinary 0, urgent 1)."""

    ADVISORY = 1
    """Ordinary ones only: urgent warnings are still wanted."""
    ALL = 2
    """Every warning; only an urgent order that was approved to override refusals still reaches them."""


class Reply(NamedTuple):
    """A reply as understood: `matched` is the command found in it, in plain capitals; empty for `OTHER`."""

    kind: Kind
    matched: str


_REFUSE: Final = """
    TC, TC QNG, TC TB, TC NHAN TIN, TC TIN NHAN, TC1, TC2, TC3, TC4, TU CHOI, TUCHOI, TU CHOI TC, TU CHOI QNG, TU CHOI TB,
    TU CHOI NHAN TIN, TU CHOI NHAN TIN NHAN, TU CHOI TIN, TU CHOI TIN NHAN, HUY, HUY TB, HUY TIN NHAN, HUY QNG, HUY DK, HUY DK QNG,
    HUY DANG KY, HUY NHAN TIN, STOP, STOP ALL, STOPALL, UNSUBSCRIBE, DUNG, DUNG GUI, DUNG GUI NUA, DUNG NHAN TIN, DUNG NHAN TIN NUA,
    KHONG NHAN, KHONG NHAN TIN, KHONG NHAN TIN NHAN, KHONG DONG Y, DK DNC, DK DNC S, DK DNC V
"""
_ACCEPT: Final = """
    DK, DK QNG, DK LAI, DANG KY, DANG KY QNG, DANG KY LAI, DONG Y, NHAN, NHAN LAI, HUY TC, HUY TC QNG, HUY TC1,
    HUY TC2, HUY TC3, HUY TC4, HUY TU CHOI, HUY TUCHOI, HUY DNC, HUY DNC S, HUY DNC V, HUY DK DNC, HUY DK DNC S, HUY DK DNC V
"""


def _table() -> Mapping[str, Kind]:
    kinds = ((Kind.REFUSE, _REFUSE), (Kind.ACCEPT, _ACCEPT))
    return MappingProxyType({" ".join(phrase.split()): kind for kind, phrases in kinds for phrase in phrases.split(",")})


PHRASES: Final = _table()
"""Every command, folded, and what it asks for; a reply must be the whole phrase, so the longest one decides."""

_SPELLINGS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "DUNG": frozenset({"dừng", "đừng"}),
        "HUY": frozenset({"hủy", "huỷ", "hũy", "huỹ"}),
        "NHAN": frozenset({"nhận"}),
    }
)
"""First words that are other words under other accents (right, a man's name, to send a text): typed with accents, one of these."""

_FILLERS: Final = frozenset(
    {"này", "đi", "nhé", "nha", "nhá", "nữa", "ạ", "cám", "cảm", "ơn", "giúp", "giùm", "dùm", "tôi", "vui", "lòng", "làm", "xin"}
)
_FILLERS_PLAIN: Final = frozenset(fold(word) for word in _FILLERS) - {"a"}
"""What people say around a refusal and which changes nothing of it; behind a refusal alone, with accents or without."""
_NOT_WORD: Final = re.compile(r"[\W_]+")
_SPACED: Final = re.compile(r"\bT C\b")
_SHORT_CODE: Final = re.compile(r" (?:GUI|DEN|GUI DEN) \d{3,6}$")
_REPORT: Final = re.compile(r"(?:LD|LUA DAO)(?= ?\d)|LD(?= \w)|[SV](?= ?\d{3})")


def read_reply(text: str) -> Reply:
    """Return what the reply asks for; never raises. Sources of the commands: circular 22/2021/TT-BTTTT art. 6, carriers' notices."""
    visible = "".join(letter for letter in unicodedata.normalize("NFKC", text) if unicodedata.category(letter) != "Cf")
    words = _NOT_WORD.sub(" ", nfc(visible)).split()
    folded = fold(" ".join(words)).upper()
    if report := _REPORT.match(folded):
        return Reply(Kind.REPORT, report.group())
    phrase = _bare_command(folded)
    kind = PHRASES.get(phrase)
    for count in range(len(words) - 1, 0, -1):
        if kind is not None or not (words[count].lower() in _FILLERS or words[count].lower() in _FILLERS_PLAIN):
            break
        phrase = _bare_command(fold(" ".join(words[:count])).upper())
        kind = Kind.REFUSE if PHRASES.get(phrase) is Kind.REFUSE else None
    if kind is None or _is_another_word(words[1] if folded.startswith("SOAN ") else words[0]):
        return Reply(Kind.OTHER, "")
    return Reply(kind, phrase)


def _bare_command(folded: str) -> str:
    """Drop what people copy from our own footer ("soạn … gửi 8088") and a command's repetition ("TC TC TC")."""
    command = _SPACED.sub("TC", _SHORT_CODE.sub("", folded).removeprefix("SOAN "))
    words = command.split(" ")
    return words[0] if len(set(words)) == 1 else command


def _is_another_word(word: str) -> bool:
    """Tell whether the accents someone typed make this another word than the command it resembles."""
    bare = fold(word).upper()
    return word.upper() != bare and bare in _SPELLINGS and word.lower() not in _SPELLINGS[bare]
