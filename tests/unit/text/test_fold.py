from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.text.fold import fold, fold_key, nfc

BASES = "aăâeêioôơuưyAĂÂEÊIOÔƠUƯY"
TONES = ["", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323"]
LETTERS = [nfc(base + tone) for base in BASES for tone in TONES] + ["đ", "Đ"]


def test_there_are_134_accented_letters() -> None:
    accented = [letter for letter in LETTERS if not letter.isascii()]
    assert len(set(accented)) == 134
    assert all(len(letter) == 1 for letter in accented)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_every_vietnamese_letter_folds_to_ascii_however_typed(form: str) -> None:
    for letter in LETTERS:
        bare = fold(unicodedata.normalize(form, letter))
        assert len(bare) == 1
        assert bare.isascii()
        assert bare.isupper() == letter.isupper()


def test_fold_keeps_everything_else() -> None:
    assert fold("Đức Phổ – 12/06/2019 · €5 🙂\n") == "Duc Pho – 12/06/2019 · €5 🙂\n"
    assert fold("Å ü ç") == "Å ü ç"


@given(st.text())
def test_fold_is_idempotent_and_nfc(text: str) -> None:
    once = fold(text)
    assert fold(once) == once == nfc(once)


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_fold_leaves_ascii_alone(text: str) -> None:
    assert fold(text) == text


def test_fold_key_matches_spellings_of_one_name() -> None:
    spellings = ["Sơn Tịnh", " SƠN  TỊNH ", "son tinh", unicodedata.normalize("NFD", "Sơn\u00a0Tịnh")]
    assert {fold_key(name) for name in spellings} == {"son tinh"}
    assert fold_key("Sơn Hà") != fold_key("Sơn Hạ Xã")
