"""A key split into recovery sheets comes back from enough of them, and from nothing less."""

import datetime as dt
import itertools
import random
import unicodedata
from pathlib import Path

import pytest
from shamir_mnemonic.wordlist import WORDLIST

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files.recovery import KEY_WORDS, Split, checked, join_key, read_sheet, split_key, threshold_of, write_sheets
from broadcaster.store.vault import Vault

KEY = bytes(range(100, 132))
TODAY = dt.date(2026, 1, 31)


def test_any_three_of_five_give_the_key_and_two_do_not() -> None:
    sheets = split_key(KEY, 5, 3)
    assert len({*sheets}) == 5
    assert {threshold_of(words) for words in sheets} == {3}
    assert {len(words.split()) for words in sheets} == {KEY_WORDS}
    for some in itertools.combinations(sheets, 3):
        assert join_key(some) == KEY
    assert join_key(sheets) == KEY
    for two in ((sheets[0], sheets[1]), (sheets[0], sheets[0], sheets[4])):
        with pytest.raises(ConfigurationError, match="Có 2 tờ khác nhau, cần 3 tờ"):
            join_key(two)
    with pytest.raises(ConfigurationError):
        join_key([])


def test_sheets_of_two_sets_do_not_mix() -> None:
    with pytest.raises(ConfigurationError, match="bộ khác nhau"):
        join_key([split_key(KEY, 2, 2)[0], split_key(KEY, 2, 2)[1]])


@pytest.mark.parametrize(("shares", "threshold"), [(3, 1), (2, 3), (17, 3), (0, 0), (1, 1), (3, -1)])
def test_impossible_numbers_of_sheets(shares: int, threshold: int) -> None:
    with pytest.raises(ConfigurationError) as caught:
        split_key(KEY, shares, threshold)
    assert caught.value.hint is not None


def test_a_sheet_is_read_back_as_printed(tmp_path: Path) -> None:
    sheets = split_key(KEY, 3, 2)
    split = Split(3, 2, Vault(KEY).fingerprint)
    paths = write_sheets(tmp_path / "new" / "usb", sheets, split, TODAY)
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600] * 3
    assert paths[0].parent.stat().st_mode & 0o777 == 0o700
    assert [read_sheet(path) for path in paths] == sheets
    text = paths[1].read_text("utf-8")
    assert unicodedata.is_normalized("NFC", text)
    for said in ("Tờ số 2 trên 3", "cần đúng 2 tờ", "31-01-2026", " ".join(split.fingerprint[at : at + 4] for at in (0, 4, 8, 12))):
        assert said in text
    assert max(map(len, text.splitlines())) <= 110
    other = [words for words in sheets if words != sheets[1]]
    assert not any(words in " ".join(text.split()) for words in other)


def test_a_sheet_is_never_overwritten_and_none_is_left_of_a_failed_set(tmp_path: Path) -> None:
    kept = tmp_path / "to-khoi-phuc-2-tren-3.txt"
    kept.write_text("cũ")
    with pytest.raises(ConfigurationError):
        write_sheets(tmp_path, split_key(KEY, 3, 2), Split(3, 2, ""), TODAY)
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
    assert kept.read_text() == "cũ"


def test_words_alone_in_any_case_and_lines(tmp_path: Path) -> None:
    words = split_key(KEY, 2, 2)[0]
    path = tmp_path / "tu.txt"
    path.write_text("\ufeff" + words.upper().replace(" ", "\r\n"), encoding="utf-8")
    assert read_sheet(path) == words


def test_a_wrong_word_is_told_by_its_place_and_never_quoted() -> None:
    words = split_key(KEY, 2, 2)[0].split()
    listed = [*words[:6], "khongco", *words[7:]]
    with pytest.raises(InvalidFileError) as caught:
        checked(" ".join(listed), "tờ 1")
    assert "từ thứ 7" in str(caught.value)
    assert not any(word in str(caught.value) for word in listed)


def test_any_other_word_or_a_swap_fails_the_checksum() -> None:
    words = split_key(KEY, 2, 2)[0].split()
    some = random.Random(7)
    for place in range(KEY_WORDS):
        wrong = some.choice([word for word in WORDLIST if word != words[place]])
        with pytest.raises(InvalidFileError) as caught:
            checked(" ".join([*words[:place], wrong, *words[place + 1 :]]), "tờ 1")
        assert wrong not in str(caught.value).split()
    first = next(place for place in range(KEY_WORDS - 1) if words[place] != words[place + 1])
    words[first : first + 2] = words[first + 1], words[first]
    with pytest.raises(InvalidFileError):
        checked(" ".join(words), "tờ 1")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"academic acid", b"x" * 70_000])
def test_a_file_that_is_no_sheet(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    with pytest.raises(InvalidFileError):
        read_sheet(path)
