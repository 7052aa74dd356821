from __future__ import annotations

import unicodedata
from typing import get_args

import pytest
import smsutil
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.text import gsm
from broadcaster.text.fold import nfc
from broadcaster.text.segment import Coding, ReferenceBits, capacity, count_units, payload, segment, udh

GSM_TEXT = st.text(alphabet=st.sampled_from("abc XYZ019.,àé\n^{}[]~|€\\"), max_size=700)
UNICODE_TEXT = st.text(alphabet=st.sampled_from("a ẵđờ\u0301\u0323🙂🇻🇳\u200d👩🏽\ufe0f"), max_size=400)
ANY_TEXT = GSM_TEXT | UNICODE_TEXT | st.text(max_size=400)
BITS = st.sampled_from(get_args(ReferenceBits))


@pytest.mark.parametrize(
    ("text", "bits", "coding", "lengths", "room_left"),
    [
        ("", 8, Coding.GSM, [0], 160),
        ("a" * 160, 8, Coding.GSM, [160], 0),
        ("a" * 161, 8, Coding.GSM, [153, 8], 145),
        ("a" * 161, 16, Coding.GSM, [152, 9], 143),
        ("a" * 306, 8, Coding.GSM, [153, 153], 0),
        ("a" * 306, 16, Coding.GSM, [152, 152, 2], 150),
        ("€" * 80, 8, Coding.GSM, [80], 0),
        ("€" * 81, 8, Coding.GSM, [76, 5], 143),
        ("đ" * 70, 8, Coding.UCS2, [70], 0),
        ("đ" * 71, 8, Coding.UCS2, [67, 4], 63),
        ("đ" * 71, 16, Coding.UCS2, [66, 5], 61),
        ("🙂" * 35, 8, Coding.UCS2, [35], 0),
        ("🙂" * 36, 8, Coding.UCS2, [33, 3], 61),
    ],
)
def test_parts_at_the_limits(text: str, bits: ReferenceBits, coding: Coding, lengths: list[int], room_left: int) -> None:
    segments = segment(text, reference_bits=bits)
    assert segments.coding is coding
    assert [len(part) for part in segments.parts] == lengths
    assert segments.room_left == room_left


def test_decomposed_text_costs_no_more_than_composed() -> None:
    text = "Cảnh báo: cuộc gọi tự xưng cán bộ điều tra yêu cầu chuyển tiền là lừa đảo. " * 3
    assert segment(unicodedata.normalize("NFD", text)) == segment(text)


@given(ANY_TEXT, BITS)
def test_parts_join_to_the_text_and_each_fits(text: str, bits: ReferenceBits) -> None:
    segments = segment(text, reference_bits=bits)
    assert "".join(segments.parts) == nfc(text)
    limit = capacity(segments.coding, alone=len(segments.parts) == 1, reference_bits=bits)
    sizes = [count_units(part, segments.coding) for part in segments.parts]
    assert max(sizes) <= limit
    assert sum(sizes) == segments.units
    assert limit - sizes[-1] == segments.room_left
    assert all(segments.parts) or segments.parts == ("",)


@given(GSM_TEXT, BITS)
def test_gsm_parts_waste_at_most_one_septet(text: str, bits: ReferenceBits) -> None:
    segments = segment(text, reference_bits=bits)
    limit = capacity(segments.coding, alone=len(segments.parts) == 1, reference_bits=bits)
    assert all(limit - gsm.septets(part) <= 1 for part in segments.parts[:-1])


@given(ANY_TEXT)
def test_no_part_begins_inside_a_letter(text: str) -> None:
    marks = {"Mn", "Mc", "Me"}
    for part in segment(text).parts[1:]:
        assert unicodedata.category(part[0]) not in marks or len(part) > 60


@given(ANY_TEXT)
def test_payload_octets_match_the_units_and_stand_alone(text: str) -> None:
    segments = segment(text)
    for part in segments.parts:
        octets = payload(part, segments.coding)
        units = count_units(part, segments.coding)
        assert len(octets) == (units if segments.coding is Coding.GSM else 2 * units)
        read = gsm.decode(octets) if segments.coding is Coding.GSM else octets.decode("utf-16-be")
        assert read == part
        assert len(octets) <= 160


@given(st.text(alphabet=st.sampled_from("abc €[đờ🙂"), max_size=500))
def test_as_many_parts_as_smsutil_makes(text: str) -> None:
    """Only texts without combining marks: smsutil cuts letters from their marks."""
    assert len(segment(text).parts) == len(smsutil.split(nfc(text)).parts)


@pytest.mark.parametrize(
    "letter", ["ẵ\u0331", "👩🏽", "👨\u200d👩\u200d👧", "🇻🇳", "a\u0331\u0332\u0333"], ids=["mark", "skin", "family", "flag", "marks"]
)
def test_a_letter_is_never_cut(letter: str) -> None:
    for shift in range(12):
        text = "đ" + "x" * (60 + shift) + letter + "y" * 70
        assert sum(nfc(letter) in part for part in segment(text).parts) == 1


def test_a_letter_longer_than_a_part_is_cut_between_code_points() -> None:
    segments = segment("đ" + "\u0331" * 200)
    assert [len(part) for part in segments.parts] == [67, 67, 67]


def test_half_a_surrogate_pair_has_no_payload() -> None:
    with pytest.raises(UnicodeEncodeError):
        payload("\ud83d", Coding.UCS2)


def test_headers_tie_parts_together() -> None:
    assert udh(0xAB, 3, 2).hex() == "050003ab0302"
    assert udh(0xABCD, 3, 2, 16).hex() == "060804abcd0302"


@pytest.mark.parametrize("numbers", [(256, 2, 1, 8), (65536, 2, 1, 16), (-1, 2, 1, 8), (1, 2, 0, 8), (1, 2, 3, 8), (1, 256, 1, 8)])
def test_headers_refuse_what_does_not_fit(numbers: tuple[int, int, int, ReferenceBits]) -> None:
    with pytest.raises(ValueError, match=r"fit|no part"):
        udh(*numbers)
