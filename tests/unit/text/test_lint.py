from __future__ import annotations

import unicodedata

import pytest

from broadcaster.model import Variant
from broadcaster.text.compose import Spellings, compose
from broadcaster.text.finding import Severity
from broadcaster.text.fold import fold
from broadcaster.text.lint import TextRules, lint, lint_sender, lint_spellings

FOOTER = "Tu choi: TC gui 1234"
BODY = "TB: Bao trung thuong roi doi phi la lua dao. KHONG nop tien. Bao Cong an gan nhat."
UNACCENTED = TextRules(Variant.UNACCENTED, rehearsal=False, footer=FOOTER, max_parts=1)
ACCENTED = TextRules(Variant.ACCENTED, rehearsal=False)


def rules_found(body: str, rules: TextRules = UNACCENTED) -> set[str]:
    text = compose(body, variant=rules.variant, rehearsal=rules.rehearsal, footer=rules.footer)
    return {found.rule for found in lint(text, rules)}


def with_word(word: str) -> str:
    return BODY.replace("nop tien", word)


def test_a_sound_text_has_no_findings() -> None:
    assert rules_found(BODY) == set()
    assert rules_found(BODY, TextRules(Variant.UNACCENTED, rehearsal=True, footer=FOOTER, max_parts=1)) == set()
    assert rules_found("TB: Tin giả. Nghi lừa đảo, báo ngay cho cơ quan Công an gần nhất!", ACCENTED) == set()


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (with_word("nop–tien"), "not-gsm"),
        (with_word("“nop”"), "not-gsm"),
        (with_word("nop\u00a0tien"), "not-gsm"),
        (with_word("nop 5₫"), "not-gsm"),
        (with_word("nop `tien"), "not-gsm"),
        (with_word("nop 中"), "not-gsm"),
        (with_word("nộp tien"), "unaccented"),
        (with_word("nop là tien"), "unaccented"),
        (with_word("nop\u200btien"), "control"),
        (with_word("nop\u202etien"), "control"),
        (with_word("nop\ntien"), "control"),
        (with_word("nop\ufefftien"), "control"),
        (with_word("nop [tien]"), "brackets"),
        (with_word("nop {{ tien }}"), "brackets"),
        (with_word("nop ~tien"), "extension"),
        (with_word("vao https://a"), "link"),
        (with_word("vao canhbao.vn"), "link"),
        (with_word("vao WWW.x"), "link"),
        (with_word("vao 10.0.0.1"), "link"),
        (with_word("viet a@b"), "link"),
        (with_word("goi 0905123456"), "phone-number"),
        (with_word("goi 0905 123 456"), "phone-number"),
        (with_word("goi +84 905.123.456"), "phone-number"),
        (with_word("goi 1900 1234"), "phone-number"),
        (with_word("(0255) 3822222, 02553822222"), "phone-number"),
        (with_word("goi so 113"), "phone-number"),
        (with_word("LH: 156"), "phone-number"),
        (with_word("nop, soan TC de tu choi"), "promised-reply"),
        (with_word("nop, nhan tin STOP"), "promised-reply"),
        (with_word("nop, tra loi tin nay"), "promised-reply"),
        (BODY.removeprefix("TB: "), "label"),
        (BODY.replace(" Bao Cong an gan nhat.", ""), "call-to-action"),
        (BODY.replace("Bao Cong an gan nhat.", "Bao Cong an. Xin cam on."), "call-to-action"),
        (BODY.removesuffix("."), "call-to-action"),
        (with_word("nop XXXX"), "placeholder"),
        (with_word("nop " + "tien " * 20), "parts"),
        ("DIEN TAP: " + BODY, "rehearsal-mark"),
    ],
)
def test_each_rule_finds_its_fault(body: str, rule: str) -> None:
    assert rule in rules_found(body)


@pytest.mark.parametrize(
    "word",
    ["nop ngay 12/06/2019", "nop 01-07-2025", "nop 01.07.2025", "gui 500 trieu", "gui 5000 dong", "vao nam 2018-2019", "v.v. nop"],
)
def test_dates_and_sums_are_not_numbers_to_call(word: str) -> None:
    assert rules_found(with_word(word)) == set()


@pytest.mark.parametrize("word", ["tra loi tin nhan la", "nhan tien", "gui tien", "khong tra loi tin nay", "dung lai"])
def test_advice_about_replies_promises_none(word: str) -> None:
    assert "promised-reply" not in rules_found(with_word(word))


def test_what_to_write_instead_is_said() -> None:
    text = compose(with_word("nop…"), variant=Variant.UNACCENTED, rehearsal=False, footer=FOOTER)
    (found,) = [found for found in lint(text, UNACCENTED) if found.rule == "not-gsm"]
    assert "“...”" in found.message.vi
    assert "“...”" in found.message.en
    assert found.index == with_word("nop…").index("…")


def test_index_points_into_the_whole_text_behind_the_mark() -> None:
    rules = TextRules(Variant.UNACCENTED, rehearsal=True, footer=FOOTER)
    text = compose(with_word("vao a.vn"), variant=rules.variant, rehearsal=True, footer=FOOTER)
    (found,) = lint(text, rules)
    assert found.index == text.index("a.vn")


def test_decomposed_text_is_found() -> None:
    text = unicodedata.normalize("NFD", "TB: Tin giả. Báo Công an.")
    assert "nfc" in {found.rule for found in lint(text, ACCENTED)}


def test_mark_and_footer_must_be_there() -> None:
    rules = TextRules(Variant.UNACCENTED, rehearsal=True, footer=FOOTER)
    assert {found.rule for found in lint(BODY, rules)} == {"rehearsal-mark", "footer"}


def test_a_placeholder_is_an_error_only_where_it_would_reach_the_public() -> None:
    footer = "Tu choi: TC gui XXXX"
    for rehearsal, severity in ((True, Severity.WARNING), (False, Severity.ERROR)):
        rules = TextRules(Variant.UNACCENTED, rehearsal=rehearsal, footer=footer)
        (found,) = lint(compose(BODY, variant=rules.variant, rehearsal=rehearsal, footer=footer), rules)
        assert (found.rule, found.severity) == ("placeholder", severity)


def test_the_carrier_has_its_say() -> None:
    rules = TextRules(Variant.ACCENTED, rehearsal=False, forbidden="%&", allow_unicode=False)
    assert rules_found("TB: Lãi 30% là lừa đảo. Báo Công an.", rules) == {"forbidden", "unicode"}


@pytest.mark.parametrize("sender", ["SOKHCN QNg", "CA-QNgai", "a", "QNG.2026", "A_1"])
def test_good_senders(sender: str) -> None:
    assert lint_sender(sender) == []


@pytest.mark.parametrize("sender", ["", "1234", "MUOIHAIKYTU.", "Sở KHCN", " QNG", "QNG ", "QNG\n", "Q@NG"])
def test_bad_senders(sender: str) -> None:
    assert [found.rule for found in lint_sender(sender)] == ["sender"]


FULL = "TB: Công an KHÔNG yêu cầu chuyển tiền qua điện thoại. Báo Công an."


@pytest.mark.parametrize(
    ("unaccented", "expected"),
    [
        (fold(FULL), []),
        ("TB: Cong an KHONG yeu cau chuyen tien. Bao Cong an.", [("shortened", Severity.WARNING)]),
        ("TB: Cong an yeu cau chuyen tien qua dien thoai. Bao Cong an.", [("spellings", Severity.ERROR)]),
        ("TB: Cong an KHONG doi chuyen tien. Bao Cong an.", [("spellings", Severity.ERROR)]),
        ("TB: Cong an KHONG chuyen tien yeu cau. Bao Cong an.", [("spellings", Severity.ERROR)]),
    ],
)
def test_the_two_spellings_must_agree(unaccented: str, expected: list[tuple[str, Severity]]) -> None:
    assert [(found.rule, found.severity) for found in lint_spellings(Spellings(FULL, unaccented))] == expected
