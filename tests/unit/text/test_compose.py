from __future__ import annotations

import pytest

from broadcaster.model import Variant
from broadcaster.text.compose import Spellings, compose, footer_for
from broadcaster.text.fold import fold


def test_mark_comes_first_and_footer_last() -> None:
    body = "TB: Báo Công an gần nhất."
    accented = compose(body, variant=Variant.ACCENTED, rehearsal=True, footer=footer_for(Variant.ACCENTED, "1234"))
    assert accented == "DIỄN TẬP: TB: Báo Công an gần nhất. Từ chối: TC gửi 1234"
    unaccented = compose(fold(body), variant=Variant.UNACCENTED, rehearsal=True, footer=footer_for(Variant.UNACCENTED, "1234"))
    assert unaccented == fold(accented)


def test_a_live_text_without_footer_is_its_body() -> None:
    assert compose("TB: A.", variant=Variant.ACCENTED, rehearsal=False, footer=None) == "TB: A."


def test_without_reply_number_the_other_way_is_told() -> None:
    other = Spellings("Từ chối tại UBND xã", "Tu choi tai UBND xa")
    assert footer_for(Variant.ACCENTED, None, other) == other.accented
    assert footer_for(Variant.UNACCENTED, None, other) == other.unaccented
    assert footer_for(Variant.UNACCENTED, None) is None
    assert footer_for(Variant.UNACCENTED, "1234", other) == "Tu choi: TC gui 1234"


@pytest.mark.parametrize("number", ["", "12", "123456789", "12a4", "XXXX", "١٢٣٤"])
def test_a_reply_number_is_3_to_8_digits(number: str) -> None:
    with pytest.raises(ValueError, match="digits"):
        footer_for(Variant.ACCENTED, number)
