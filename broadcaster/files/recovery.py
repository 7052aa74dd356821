"""Recovery sheets: a key split into words (SLIP-39), a sheet for each holder, any `threshold` of which give the key back.

Fewer than `threshold` sheets say nothing of the key. The words carry their own checksum, so a mistyped one shows before the key is
put together. No error ever quotes a word.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.wordlist import WORD_INDEX_MAP

from broadcaster.errors import ConfigurationError, InvalidFileError, Problem
from broadcaster.lang import Said

MOST_SHARES: Final = 16
"""What the words have room for."""
KEY_WORDS: Final = 33
"""How many words a share of a 32-byte key has."""
_COLUMNS: Final = 3
_SHEET_BYTES: Final = 64 * 1024
_NUMBERED: Final = re.compile(r"\s*(?:\d{1,2}\.\s*[A-Za-z]+\s*)+")
_WORD: Final = re.compile(r"(\d{1,2})\.\s*([A-Za-z]+)")


class Split(NamedTuple):
    """How a key was split: among how many sheets, how many give it back, and its public fingerprint."""

    shares: int
    threshold: int
    fingerprint: str


def split_key(key: bytes, shares: int, threshold: int) -> list[str]:
    """Return the words of each sheet. Raises `ConfigurationError` unless 2 ≤ threshold ≤ shares ≤ 16."""
    if not 2 <= threshold <= shares <= MOST_SHARES:
        raise ConfigurationError(
            Said(
                f"Cần 2 ≤ số tờ đủ để khôi phục ≤ số tờ ≤ {MOST_SHARES}; được cho {threshold} và {shares}.",
                f"It must be 2 ≤ threshold ≤ shares ≤ {MOST_SHARES}; given were {threshold} and {shares}.",
            ),
            Said("ví dụ: --shares 5 --threshold 3", "for example: --shares 5 --threshold 3"),
        )
    sheets: list[list[str]] = generate_mnemonics(1, [(threshold, shares)], key)
    return sheets[0]


def write_sheets(folder: Path, sheets: Sequence[str], split: Split, made_on: dt.date) -> list[Path]:
    """Write one printable sheet (Vietnamese, UTF-8, mode 0600) for each holder; all or none, and none is ever overwritten.

    Raises `ConfigurationError` when one is there already or cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place, words in enumerate(sheets, 1):
            path = folder / f"to-khoi-phuc-{place}-tren-{split.shares}.txt"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            written.append(path)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(_sheet(place, words, split, made_on))
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:
        remove_sheets(written)
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            Said(f"không ghi được tờ khôi phục vào {folder}: {reason}", f"cannot write recovery sheets to {folder}: {reason}"),
            Said("chọn một thư mục mới, còn trống", "choose a new, empty folder"),
        ) from error
    return written


def remove_sheets(paths: Sequence[Path]) -> None:
    """Take back sheets that were written."""
    for path in paths:
        path.unlink()


def _sheet(place: int, words: str, split: Split, made_on: dt.date) -> str:
    return "\n".join(
        [
            "TỜ KHÔI PHỤC KHÓA KHO SỐ THUÊ BAO",
            "Hệ thống nhắn tin cảnh báo lừa đảo, tỉnh Quảng Ngãi",
            "",
            f"Tờ số {place} trên {split.shares}; cần đúng {split.threshold} tờ khác nhau để khôi phục khóa.",
            f"Ngày lập: {made_on:%d-%m-%Y}",
            f"Dấu vân tay của khóa: {grouped(split.fingerprint)}",
            "Người giữ: ........................................   Chữ ký: ....................",
            "",
            f"{KEY_WORDS} từ, đọc theo số thứ tự:",
            "",
            *_columns(words.split()),
            "",
            "Người giữ tờ này cần làm gì:",
            "- Cất trong phong bì niêm phong, ở nơi khóa được, khác chỗ với các tờ còn lại.",
            "- Không chụp ảnh, không sao chép, không gửi qua tin nhắn, thư điện tử.",
            f"- Một mình tờ này không mở được gì; ai có {split.threshold} tờ thì đọc được mọi số thuê bao trong hệ thống.",
            "- Mất tờ này hoặc thôi giữ nhiệm vụ: báo ngay cho người vận hành. Lập bộ tờ mới KHÔNG làm tờ cũ mất hiệu lực:",
            "  thu lại và hủy các tờ cũ.",
            "",
            f"Khi máy mất tệp khóa: {split.threshold} người giữ cùng đến, chạy `broadcaster vault recover` rồi lần lượt gõ các từ.",
            "Mỗi năm một lần thử xem các tờ còn đọc được không: `broadcaster vault recover --dry-run`.",
            "",
        ]
    )


def grouped(fingerprint: str) -> str:
    """Return the beginning of a fingerprint as a person compares it: ``1a2b 3c4d 5e6f 7a8b``."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, 16, 4))


def _columns(words: Sequence[str]) -> list[str]:
    height = -(-len(words) // _COLUMNS)
    cells = [f"{place:>2}. {word}" for place, word in enumerate(words, 1)]
    return ["".join(f"    {cell:<18}" for cell in cells[row::height]).rstrip() for row in range(height)]


def read_sheet(path: Path) -> str:
    """Return the words of a sheet: as `write_sheets` wrote it, or nothing but words. Raises `InvalidFileError`."""
    try:
        with path.open("rb") as file:
            content = file.read(_SHEET_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidFileError([Problem(str(path), Said("tệp không phải UTF-8", "the file is not UTF-8"))]) from None
    numbered = {int(place): word for line in content.splitlines() if _NUMBERED.fullmatch(line) for place, word in _WORD.findall(line)}
    words = " ".join(numbered[place] for place in sorted(numbered)) if numbered else content
    return checked(words, str(path))


def checked(words: str, source: str) -> str:
    """Return the words of one share, lower case. Raises `InvalidFileError` that says which word, by its place, is none."""
    listed = words.lower().split()
    problems = [
        Problem(source, Said(f"từ thứ {place} không có trong bảng từ", f"word number {place} is not on the list of words"))
        for place, word in enumerate(listed, 1)
        if word not in WORD_INDEX_MAP
    ]
    if len(listed) != KEY_WORDS:
        count = len(listed)
        problems = [Problem(source, Said(f"cần {KEY_WORDS} từ, đọc được {count}", f"{KEY_WORDS} words needed, {count} read"))]
    if not problems:
        try:
            Share.from_mnemonic(" ".join(listed))
            return " ".join(listed)
        except MnemonicError:
            mistyped = Said(
                "có từ sai hoặc sai thứ tự",
                "a word is wrong or out of order",
            )
            problems = [Problem(source, mistyped)]
    raise InvalidFileError(problems)


def threshold_of(words: str) -> int:
    """Return how many sheets of the set that these words belong to give the key."""
    return int(Share.from_mnemonic(words).member_threshold)


def join_key(sheets: Sequence[str]) -> bytes:
    """Return the key that the words of these sheets hold; a sheet given twice counts once.

    Raises `ConfigurationError` for too few sheets, or sheets of different sets.
    """
    shares = {share.index: share for share in map(Share.from_mnemonic, sheets)}
    sets = {share.group_parameters() for share in map(Share.from_mnemonic, sheets)}
    if len(sets) > 1:
        raise ConfigurationError(
            Said("Các tờ này thuộc những bộ khác nhau.", "These sheets belong to different sets."),
            Said("dùng các tờ cùng ngày lập", "use sheets made on the same day"),
        )
    needed = sets.pop().member_threshold if sets else 2
    if len(shares) < needed:
        raise ConfigurationError(
            Said(
                f"Có {len(shares)} tờ khác nhau, cần {needed} tờ.", f"There are {len(shares)} different sheets, {needed} are needed."
            )
        )
    try:
        key: bytes = combine_mnemonics([share.mnemonic() for share in list(shares.values())[:needed]])
    except MnemonicError:
        raise ConfigurationError(Said("Các tờ này không ghép được thành khóa.", "These sheets do not make a key together.")) from None
    return key
