"""Check a warning as it will reach the wire: what an approver would want to know before signing.

A rule that holds for every text is an error; a warning is for a person to weigh. The rules come from the directive (12/CT-UBND,
point 1: report to the nearest police), from what carriers' gateways refuse, and from what scammers imitate (links,
call-back numbers).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from broadcaster.lang import Said
from broadcaster.model import Variant
from broadcaster.text.compose import REHEARSAL_MARK, Spellings
from broadcaster.text.finding import Finding, Severity
from broadcaster.text.fold import fold, nfc
from broadcaster.text.gsm import Alphabet, is_extended, not_gsm
from broadcaster.text.segment import Coding, ReferenceBits, segment

LABEL: Final = "TB: "
"""Thông báo: marks an official notice without the brackets gateways refuse."""

GSM_REPLACEMENTS: Final = (
    dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("“”„‟«»″", '"')
    | dict.fromkeys("‘’‚‛′`´", "'")
    | dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u202f\u3000", " ")
    | {"…": "...", "•": "-", "·": "-", "₫": "d", "×": "x", "→": "->", "°": " do "}
)
"""Characters word processors put in, which turn a whole text into UCS-2, and what to write instead."""

_SENDER: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9._ -]{1,11}")
_PLACEHOLDER: Final = re.compile(r"X{3,}", re.IGNORECASE)
_LINK: Final = re.compile(r"https?:|www\.|://|@|\w\.[^\W\d_]{2,}|(?<!\d)\d{1,3}(?:\.\d{1,3}){3}(?!\d)", re.IGNORECASE)
_PHONE: Final = re.compile(r"(?<![\d/.-])(?!\d{1,2}([-.])\d{1,2}\1\d{4}\b)(?:\+?84|0|18|19)\d?(?:[ .-]?\d){6,11}(?![\d/])")
_CALL: Final = re.compile(
    r"\b(?:goi|lien he|lh|hotline|tong dai|duong day nong|soan|gui|sms|dt)\b[ :]{0,2}(?:so )?\d{3,}"
    r"(?!\d| ?(?:nghin|ngan|trieu|ty|dong)\b)",
    re.IGNORECASE,
)
_CALL_TO_ACTION: Final = re.compile(r"\bbao (?:ngay )?(?:cho )?(?:co quan )?cong an\b", re.IGNORECASE)
_PROMISED_REPLY: Final = re.compile(
    r"\b(?:soan|nhan|gui|tra loi|reply)\b(?: tin)?[ :\"'(]{1,3}(?:tc\d?|stop|huy|dung|dk)\b"
    r"|(?<!khong )\btra loi (?:tin(?: nhan)? )?nay\b",
    re.IGNORECASE,
)
_SENTENCE_END: Final = re.compile(r"[.!?]\s+")
_NEGATIONS: Final = frozenset({"khong", "chua", "dung", "cam", "chang"})


@dataclass(frozen=True, slots=True)
class TextRules:
    """What one composed text is held against: how it was composed, and what its carrier takes."""

    variant: Variant
    rehearsal: bool
    footer: str | None = None
    max_parts: int | None = None
    forbidden: str = ""
    """Characters the carrier's gateway rejects."""
    allow_unicode: bool = True
    reference_bits: ReferenceBits = 8
    alphabet: Alphabet = "gsm"
    """In what the carrier reads texts that are not Unicode."""


def lint(text: str, rules: TextRules) -> list[Finding]:
    """Return everything found in `text`, as `compose` made it; an empty list lets it go out."""
    body, start, found = _body(text, rules)
    found += _characters(text, rules)
    found += _imitable(body, start)
    found += _promises(body, start)
    found += _wording(body, start, rules)
    found += _size(text, rules)
    return found


def promises_reply(text: str) -> int | None:
    """Return where a text tells people to answer by a text of their own, None where it does not."""
    found = _PROMISED_REPLY.search(fold(text))
    return found.start() if found else None


def lint_sender(sender: str) -> list[Finding]:
    """Return what is wrong with an alphanumeric sender: 1 to 11 of letters, digits, ``. _ -`` and space, one a letter at least."""
    if _SENDER.fullmatch(sender) and sender == sender.strip():
        return []
    return [
        _error(
            "sender",
            "tên người gửi có 1–11 ký tự: chữ không dấu, số, dấu chấm, gạch dưới, gạch nối, dấu cách ở giữa; ít nhất một chữ cái",
            "a sender has 1–11 characters: plain letters, digits, full stop, underscore, hyphen, inner spaces; one letter or more",
        )
    ]


def lint_spellings(texts: Spellings) -> list[Finding]:
    """Return where the unaccented text says something else than the accented one.

    It is either the accented text folded, or that text shortened: words may be left out, but none added, moved or negated.
    """
    if texts.unaccented == fold(texts.accented):
        return []
    full, short = _words(texts.accented), _words(texts.unaccented)
    remaining = iter(full)
    if not all(word in remaining for word in short):
        return [
            _error(
                "spellings",
                "bản không dấu có từ không có trong bản có dấu, hoặc đổi thứ tự",
                "the unaccented text has words the accented one lacks, or in another order",
            )
        ]
    if [word for word in full if word in _NEGATIONS] != [word for word in short if word in _NEGATIONS]:
        return [
            _error(
                "spellings",
                "bản không dấu bỏ mất từ phủ định của bản có dấu",
                "the unaccented text leaves out a negation of the accented one",
            )
        ]
    message = Said(vi="bản không dấu rút gọn so với bản có dấu", en="the unaccented text is a shortened form of the accented one")
    return [Finding("shortened", Severity.WARNING, message)]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", fold(text).casefold())


def _body(text: str, rules: TextRules) -> tuple[str, int, list[Finding]]:
    """Return the text between mark and footer, where it starts, and what is wrong with mark and footer."""
    found: list[Finding] = []
    start, end = 0, len(text)
    mark = REHEARSAL_MARK.of(rules.variant)
    marked = text.startswith(mark)
    if marked:
        start = len(mark)
    if rules.rehearsal and not marked:
        found.append(
            _error("rehearsal-mark", f"tin diễn tập phải mở đầu bằng “{mark}”", f"a rehearsal text must begin with “{mark}”", 0)
        )
    if not rules.rehearsal and fold(text).upper().startswith(REHEARSAL_MARK.unaccented.strip()):
        found.append(
            _error("rehearsal-mark", "tin thật không được mang dấu diễn tập", "a live text must not carry the rehearsal mark", 0)
        )
    if rules.footer:
        if text.endswith(f" {rules.footer}"):
            end -= len(rules.footer) + 1
        else:
            found.append(_error("footer", f"tin phải kết thúc bằng “{rules.footer}”", f"the text must end with “{rules.footer}”"))
    return text[start:end], start, found


def _characters(text: str, rules: TextRules) -> Iterator[Finding]:
    if text != nfc(text):
        yield _error("nfc", "văn bản chưa chuẩn hóa NFC", "the text is not in NFC")
    for index, char in enumerate(text):
        named = f"U+{ord(char):04X}"
        if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
            yield _error("control", f"ký tự điều khiển hoặc vô hình {named}", f"control or invisible character {named}", index)
        elif char in rules.forbidden:
            yield _error("forbidden", f"nhà mạng không nhận ký tự “{char}”", f"the carrier rejects the character “{char}”", index)
        elif char in "[]{}":
            yield _error("brackets", f"không dùng “{char}”: nhiều tổng đài từ chối", f"no “{char}”: many gateways reject it", index)
        elif rules.variant is Variant.UNACCENTED and is_extended(char):
            message = Said(vi=f"“{char}” chiếm hai ký tự", en=f"“{char}” takes two characters")
            yield Finding("extension", Severity.WARNING, message, index)
    if rules.variant is Variant.UNACCENTED:
        yield from _accents(text, rules.alphabet)


def _accents(text: str, alphabet: Alphabet) -> Iterator[Finding]:
    strange = dict(not_gsm(text, alphabet))
    for index, char in enumerate(text):
        if fold(char) != char:
            yield _error(
                "unaccented", f"bản không dấu có chữ có dấu “{char}”", f"the unaccented text has an accented letter “{char}”", index
            )
        elif char in GSM_REPLACEMENTS:
            instead = GSM_REPLACEMENTS[char]
            vi = f"“{char}” (U+{ord(char):04X}) làm cả tin thành Unicode; thay bằng “{instead}”"
            en = f"“{char}” (U+{ord(char):04X}) makes the whole text Unicode; write “{instead}”"
            yield _error("not-gsm", vi, en, index)
        elif index in strange:
            named = f"U+{ord(char):04X}"
            vi, en = f"{named} không có trong bảng mã GSM 7 bit", f"{named} is not in the GSM 7-bit alphabet"
            if alphabet != "gsm":
                vi, en = f"{vi} theo cách đọc {alphabet} của nhà mạng", f"{en} as this carrier reads it ({alphabet})"
            yield _error("not-gsm", vi, en, index)


def _imitable(body: str, start: int) -> Iterator[Finding]:
    """Find what a scammer could imitate: people must never be trained to follow a link or ring a number from a text."""
    if link := _LINK.search(body):
        yield _error(
            "link",
            "không được có liên kết hay địa chỉ (nếu không phải, hãy thêm dấu cách sau dấu chấm)",
            "no links or addresses (if it is not one, put a space after the full stop)",
            start + link.start(),
        )
    if phone := _PHONE.search(body) or _CALL.search(fold(body)):
        yield _error("phone-number", "không được có số điện thoại để gọi lại", "no call-back phone numbers", start + phone.start())


def _promises(body: str, start: int) -> Iterator[Finding]:
    """Only the footer may promise that a reply is heard: it names the number that is hired, or the way that stands in for it."""
    if (at := promises_reply(body)) is not None:
        yield _error(
            "promised-reply",
            "nội dung không được mời trả lời bằng tin nhắn; phần từ chối cuối tin do hệ thống ghi",
            "the body must not ask for a reply by text; how to refuse is said by the footer alone",
            start + at,
        )


def _wording(body: str, start: int, rules: TextRules) -> Iterator[Finding]:
    if not body.startswith(LABEL):
        yield _error("label", f"nội dung phải mở đầu bằng “{LABEL}”", f"the body must begin with “{LABEL}”", start)
    last = _SENTENCE_END.split(fold(body).rstrip())[-1]
    if not _CALL_TO_ACTION.search(last):
        yield _error(
            "call-to-action",
            "câu cuối trước phần từ chối phải kêu gọi báo Công an",
            "the last sentence before the footer must ask people to report to the police (“báo Công an”)",
        )
    elif body.rstrip()[-1] not in ".!":
        yield _error("call-to-action", "câu cuối phải có dấu chấm", "the last sentence must end with a full stop")
    placeholder = _PLACEHOLDER.search(body + (f" {rules.footer}" if rules.footer else ""))
    if placeholder:
        severity = Severity.WARNING if rules.rehearsal else Severity.ERROR
        message = Said(vi="còn chỗ trống XXXX chưa điền", en="the placeholder XXXX was never filled in")
        yield Finding("placeholder", severity, message, start + placeholder.start())


def _size(text: str, rules: TextRules) -> Iterator[Finding]:
    segments = segment(text, reference_bits=rules.reference_bits, alphabet=rules.alphabet)
    count = len(segments.parts)
    if segments.coding is Coding.UCS2 and not rules.allow_unicode:
        yield _error("unicode", "nhà mạng không nhận tin Unicode", "the carrier takes no Unicode texts")
    if rules.max_parts is not None and count > rules.max_parts:
        kind = "septet" if segments.coding is Coding.GSM else "UTF-16"
        yield _error(
            "parts",
            f"tin dài {count} phần ({segments.units} đơn vị {kind}), tối đa {rules.max_parts} phần",
            f"the text takes {count} parts ({segments.units} {kind} units), at most {rules.max_parts} allowed",
        )


def _error(rule: str, vi: str, en: str, index: int | None = None) -> Finding:
    return Finding(rule, Severity.ERROR, Said(vi, en), index)
