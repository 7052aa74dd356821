"""What subscribers' replies mean."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.rules.refusal import PHRASES, Kind, Reply, read_reply

REFUSALS = [
    ("TC", "TC"),
    ("tc", "TC"),
    ("tc.", "TC"),
    (" Tc \r\n", "TC"),
    ("T C", "TC"),
    ("t.c.", "TC"),
    ("T-C", "TC"),
    ('"TC"', "TC"),
    ("(TC)!", "TC"),
    ("TC TC TC", "TC"),
    ("ＴＣ", "TC"),
    ("T\u200bC", "TC"),
    ("\ufeffTC", "TC"),
    ("Từ ch\u00adối", "TU CHOI"),
    ("TC\u00a0QNG", "TC QNG"),
    ("TC QNG", "TC QNG"),
    ("tc_qng", "TC QNG"),
    ("T C QNG", "TC QNG"),
    ("TC1", "TC1"),
    ("tc4", "TC4"),
    ("TC gửi 8088", "TC"),
    ("TC gui den 8088", "TC"),
    ("Soạn TC gửi 8088", "TC"),
    ("Từ chối: TC gửi 8088", "TU CHOI TC"),
    ("TU CHOI", "TU CHOI"),
    ("TUCHOI", "TUCHOI"),
    ("Từ chối", "TU CHOI"),
    ("TỪ CHỐI", "TU CHOI"),
    ("từ  chối!!!", "TU CHOI"),
    ("Từ chối nhận tin", "TU CHOI NHAN TIN"),
    ("HUY", "HUY"),
    ("Hủy", "HUY"),
    ("Huỷ", "HUY"),
    ("hủy TB", "HUY TB"),
    ("HUY_QNG", "HUY QNG"),
    ("Hủy đăng ký", "HUY DANG KY"),
    ("huy dk", "HUY DK"),
    ("STOP", "STOP"),
    ("Stop.", "STOP"),
    ("DUNG", "DUNG"),
    ("Dừng", "DUNG"),
    ("Đừng gửi nữa", "DUNG GUI NUA"),
    ("soạn dừng", "DUNG"),
    ("KHONG NHAN", "KHONG NHAN"),
    ("Không nhận tin", "KHONG NHAN TIN"),
    ("không nhắn tin", "KHONG NHAN TIN"),
    ("Không đồng ý", "KHONG DONG Y"),
    ("DK DNC", "DK DNC"),
    ("DK_DNC_S", "DK DNC S"),
    ("dk dnc v", "DK DNC V"),
    ("Từ chối nhận tin nhắn này đi", "TU CHOI NHAN TIN NHAN"),
    ("tu choi nhan tin nay di nhe", "TU CHOI NHAN TIN"),
    ("Từ chối ạ", "TU CHOI"),
    ("TC giúp tôi, cảm ơn", "TC"),
    ("TC gửi 8088 nhé", "TC"),
    ("Đừng gửi nữa nhé", "DUNG GUI NUA"),
    ("Từ chối tin nhắn", "TU CHOI TIN NHAN"),
]
ACCEPTANCES = [
    ("DK", "DK"),
    ("ĐK", "DK"),
    ("DK QNG", "DK QNG"),
    ("DK QNG gửi 8088", "DK QNG"),
    ("Đăng ký", "DANG KY"),
    ("Đồng ý", "DONG Y"),
    ("dong y.", "DONG Y"),
    ("NHAN", "NHAN"),
    ("Nhận", "NHAN"),
    ("HUY TC", "HUY TC"),
    ("Hủy TC", "HUY TC"),
    ("huy t c", "HUY TC"),
    ("HUY TC QNG", "HUY TC QNG"),
    ("Hủy từ chối", "HUY TU CHOI"),
    ("HUY DNC", "HUY DNC"),
    ("HUY_DNC_S", "HUY DNC S"),
    ("huy dnc v", "HUY DNC V"),
]
REPORTS = [
    ("LD 0912345678 lua dao chuyen tien", "LD"),
    ("ld(0912345678)(tự xưng công an)", "LD"),
    ("LD0912345678 gia danh", "LD"),
    ("LD Vietcombank gửi link lạ", "LD"),
    ("S 0912345678 quang cao", "S"),
    ("S(0912345678)(TC)", "S"),
    ("V (0812341213) lừa đảo", "V"),
    ("v0812341213 goi rac", "V"),
    ("Lừa đảo 0912345682", "LUA DAO"),
]
OTHERS = [
    "",
    "   ",
    "...",
    "Tôi muốn TC",
    "TC là gì",
    "Cho hoi TC nghia la gi",
    "chị ơi mai em TC được không",
    "OTC",
    "TCB",
    "TC5",
    "Đúng",
    "dùng",
    "soạn đúng",
    "Nhắn",
    "Nhân",
    "Húy",
    "Không",
    "Không từ chối",
    "HUY DNC gi vay",
    "V anh oi",
    "S",
    "LD",
    "S 5 trieu",
    "TB: Cong an KHONG yeu cau chuyen tien. Tu choi: TC gui 8088",
    "cam on",
    "TC à",
    "Đồng ý nhé không",
    "HUY TC đi",
    "đừng tin",
    "Lừa đảo nhiều quá",
    "soạn",
    "SOAN",
    "👍",
    "\ud83d",
]


@pytest.mark.parametrize(("text", "matched"), REFUSALS)
def test_refusals_are_obeyed(text: str, matched: str) -> None:
    assert read_reply(text) == Reply(Kind.REFUSE, matched)


@pytest.mark.parametrize(("text", "matched"), ACCEPTANCES)
def test_refusals_are_withdrawn(text: str, matched: str) -> None:
    assert read_reply(text) == Reply(Kind.ACCEPT, matched)


@pytest.mark.parametrize(("text", "matched"), REPORTS)
def test_scam_reports_are_told_apart(text: str, matched: str) -> None:
    assert read_reply(text) == Reply(Kind.REPORT, matched)


@pytest.mark.parametrize("text", OTHERS)
def test_everything_else_changes_nothing(text: str) -> None:
    assert read_reply(text) == Reply(Kind.OTHER, "")


@pytest.mark.parametrize("text", [text for text, _ in REFUSALS + ACCEPTANCES + REPORTS])
def test_composed_and_decomposed_letters_mean_the_same(text: str) -> None:
    assert read_reply(unicodedata.normalize("NFD", text)) == read_reply(unicodedata.normalize("NFC", text))


@given(st.text())
def test_no_text_raises(text: str) -> None:
    reply = read_reply(text)
    assert (reply.kind is Kind.OTHER) == (reply.matched == "")


@given(
    st.sampled_from(sorted(PHRASES)),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from([" ", "  ", "_", "-", ".", " . ", "\t", "\u00a0"]),
    st.text(" .,!?-_\n\"'()"),
)
def test_every_command_is_read_in_any_case_and_spacing(phrase: str, case: object, gap: str, edge: str) -> None:
    assert callable(case)
    assert read_reply(edge + gap.join(case(phrase).split(" ")) + edge) == Reply(PHRASES[phrase], phrase)


@given(st.sampled_from(sorted(PHRASES)), st.sampled_from(["ANH OI", "LA GI VAY", "HAY QUA"]))
def test_a_command_inside_a_sentence_is_none(phrase: str, words: str) -> None:
    assert read_reply(f"{phrase} {words}").kind is Kind.OTHER
    assert read_reply(f"{words} {phrase}").kind is Kind.OTHER
