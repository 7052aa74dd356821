from __future__ import annotations

import gsm0338
import pytest
import smsutil
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.text import gsm

ALPHABET = [char for char in map(chr, range(0x3000)) if gsm.is_gsm(char)]
CODEC = gsm0338.Codec()


def test_the_alphabet_has_127_characters_and_10_more_behind_the_escape() -> None:
    assert len(ALPHABET) == 137
    assert sorted(char for char in ALPHABET if gsm.is_extended(char)) == sorted("\f^{}\\[~]|€")


@pytest.mark.parametrize("char", ALPHABET)
def test_each_character_encodes_as_two_independent_tables_say(char: str) -> None:
    assert gsm.encode(char) == CODEC.encode(char)[0] == smsutil.encode(char)
    assert gsm.decode(gsm.encode(char)) == char


def test_membership_agrees_with_smsutil_over_the_whole_plane() -> None:
    differing = [char for char in map(chr, range(0xD800)) if gsm.is_gsm(char) != smsutil.is_valid_gsm(char)]
    assert differing == ["\x1b"], "a bare escape is no character"


def test_the_backtick_is_not_gsm() -> None:
    """smpplib sends it as 0x5F, which a handset shows as a section sign."""
    assert not gsm.is_gsm("`")
    assert gsm.decode(b"\x5f") == "§"
    with pytest.raises(UnicodeEncodeError):
        gsm.encode("`")


def test_only_seven_vietnamese_letters_are_in_the_alphabet() -> None:
    assert gsm.is_gsm("àèéìòùÉ")
    assert gsm.not_gsm("Cảnh báo đ") == [(1, "ả"), (6, "á"), (9, "đ")]


@pytest.mark.parametrize(("alphabet", "codec", "size"), [("latin1", "latin-1", 126), ("ascii", "ascii", 97)])
def test_f62_other_alphabets_carry_what_both_sides_have(alphabet: gsm.Alphabet, codec: str, size: int) -> None:
    """What an SMSC gets there but no handset shows in seven bits is left out, and the other way round."""
    theirs = [char for char in map(chr, range(0x3000)) if gsm.is_gsm(char, alphabet)]
    both = [char for char in ALPHABET if char.encode(codec, "ignore")]
    assert theirs == both
    assert len(both) == size
    assert all(gsm.encode(char, alphabet) == char.encode(codec) for char in both)
    with pytest.raises(UnicodeEncodeError) as caught:
        gsm.encode("abΔc", alphabet)
    assert (caught.value.start, caught.value.end) == (2, 3)
    assert gsm.not_gsm("aê€", alphabet) == [(1, "ê"), (2, "€")]


def test_encode_names_the_place_of_the_first_stranger() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        gsm.encode("ab–c–")
    assert (caught.value.start, caught.value.end) == (2, 3)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"\x1b\x65", "€"), (b"\x1b\x41", "A"), (b"\x1b\x1bA", " A"), (b"A\x1b", "A "), (b"\x00\x11", "@_"), (b"", "")],
)
def test_decode_shows_what_ts_23038_asks_of_a_receiver(data: bytes, text: str) -> None:
    assert gsm.decode(data) == text


def test_decode_refuses_octets_that_are_no_septets() -> None:
    with pytest.raises(UnicodeDecodeError) as caught:
        gsm.decode(b"TC\xe1")
    assert caught.value.start == 2


@given(st.text(alphabet=st.sampled_from(ALPHABET)))
def test_text_survives_the_round_trip(text: str) -> None:
    assert gsm.decode(gsm.encode(text)) == text
    assert gsm.septets(text) == len(text) + sum(text.count(char) for char in "\f^{}\\[~]|€")


@given(st.binary())
def test_decode_never_fails_but_on_high_octets(data: bytes) -> None:
    low = bytes(octet & 0x7F for octet in data)
    assert len(gsm.decode(low)) <= len(low)
