import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import carrier as phonenumbers_carrier

from broadcaster.files.prefixes import read_plan
from broadcaster.model import CarrierCode, DropReason, Msisdn
from broadcaster.rules.numbers import NumberPlan, Prefix, holds_number, mask

PLAN = read_plan()

MOBILE_HEADS = [
    *("32", "33", "34", "35", "36", "37", "38", "39", "86", "96", "97", "98"),
    *("81", "82", "83", "84", "85", "88", "91", "94", "87", "55"),
    *("70", "76", "77", "78", "79", "89", "90", "93"),
    *("52", "56", "58", "92"),
    *("59", "993", "994", "995", "996", "997"),
]

CHANGED_HEADS = {
    "0120": "070", "0121": "079", "0122": "077", "0126": "076", "0128": "078",
    "0123": "083", "0124": "084", "0125": "085", "0127": "081", "0129": "082",
    "0162": "032", "0163": "033", "0164": "034", "0165": "035", "0166": "036", "0167": "037", "0168": "038", "0169": "039",
    "0186": "056", "0188": "058", "0199": "059",
}  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        "0912345678",
        "84912345678",
        "+84912345678",
        "0084912345678",
        "84 (0)912 345 678",
        "+84 (0) 912.345.678",
        "+840912345678",
        " 0912-345-678 ",
        "(091) 2345678",
        "0912\u00a0345\u00a0678",
        "912345678",
        "84912345678.0",
        "912345678,0",
        "'0912345678",
        '="0912345678"',
    ],
)
def test_every_spelling_gives_the_same_number(raw: str) -> None:
    assert PLAN.normalise(raw) == 84912345678
    assert PLAN.normalise_many([raw]) == [84912345678]


@pytest.mark.parametrize(("old", "new"), CHANGED_HEADS.items())
def test_an_old_11_digit_number_becomes_its_10_digit_successor(old: str, new: str) -> None:
    wanted = int("84" + new[1:] + "2345678"[:7])
    for raw in (
        old[1:] + "2345678",
        old + "2345678",
        "84" + old[1:] + "2345678",
        f"+84 {old[1:]} 234 56 78",
        "0084" + old + "2345678",
    ):
        assert PLAN.normalise(raw) == wanted


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", DropReason.EMPTY),
        ("  \t", DropReason.EMPTY),
        ("abc", DropReason.NOT_A_NUMBER),
        ("---", DropReason.NOT_A_NUMBER),
        ("+", DropReason.NOT_A_NUMBER),
        ("84912345678.5", DropReason.WRONG_LENGTH),
        ("8491234567.0", DropReason.WRONG_LENGTH),
        ("8.49E+10", DropReason.ROUNDED),
        ("8,49E+10", DropReason.ROUNDED),
        ("8.4912345678E+10", DropReason.ROUNDED),
        ("849e8", DropReason.NOT_A_NUMBER),
        ("=1+1", DropReason.FORMULA),
        ("=HYPERLINK(0912345678)", DropReason.FORMULA),
        ("@SUM(A1)", DropReason.FORMULA),
        ('=""', DropReason.EMPTY),
        ("8491234567８", DropReason.NOT_A_NUMBER),
        ("84_912345678", DropReason.NOT_A_NUMBER),
        ("091234567", DropReason.WRONG_LENGTH),
        ("09123456789", DropReason.WRONG_LENGTH),
        ("849123456789", DropReason.WRONG_LENGTH),
        ("012012345678", DropReason.WRONG_LENGTH),
        ("01701234567", DropReason.MACHINE),
        ("84101234567", DropReason.MACHINE),
        ("841234567", DropReason.AMBIGUOUS),
        ("849123456", DropReason.AMBIGUOUS),
        ("412345678", DropReason.UNALLOCATED),
        ("91234567", DropReason.WRONG_LENGTH),
        ("2553822123", DropReason.FIXED_LINE),
        ("02553822123", DropReason.FIXED_LINE),
        ("+84 255 3822 123", DropReason.FIXED_LINE),
        ("0672123456", DropReason.FIXED_LINE),
        ("156", DropReason.SHORT_CODE),
        ("5656", DropReason.SHORT_CODE),
        ("19001234", DropReason.SHORT_CODE),
        ("1800123456", DropReason.SHORT_CODE),
        ("+66812345678", DropReason.FOREIGN),
        ("00856201234567", DropReason.FOREIGN),
        ("8613812345678", DropReason.FOREIGN),
        ("0951234567", DropReason.UNALLOCATED),
        ("0992123456", DropReason.UNALLOCATED),
        ("84301234567", DropReason.UNALLOCATED),
    ],
)
def test_what_is_no_mobile_number_is_dropped_with_its_reason(raw: str, reason: DropReason) -> None:
    assert PLAN.normalise(raw) is reason
    assert PLAN.normalise_many([raw]) == [reason]


@pytest.mark.parametrize("head", MOBILE_HEADS)
def test_the_table_covers_every_mobile_prefix(head: str) -> None:
    msisdn = PLAN.normalise("0" + (head + "2345678")[:9])
    assert not isinstance(msisdn, DropReason)
    assert PLAN.holder(msisdn) is not None


HOLDERS_IN_LIBRARY = {
    "Viettel": "viettel",
    "Vinaphone": "vinaphone",
    "MobiFone": "mobifone",
    "Vietnamobile": "vietnamobile",
    "Gmobile": "gmobile",
    "G-Mobile": "gmobile",
}
# The library knows only parts of these ranges (0522-0528, 0559, 0896-0899); our table holds them whole.
UNKNOWN_TO_LIBRARY = ("52", "55", "89")


@pytest.mark.parametrize("head", [head for head in MOBILE_HEADS if head not in UNKNOWN_TO_LIBRARY])
def test_holder_agrees_with_phonenumbers_where_it_is_right(head: str) -> None:
    national = (head + "6345678")[:9]
    parsed = phonenumbers.parse("+84" + national)
    assert phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.MOBILE
    name = phonenumbers_carrier.name_for_number(parsed, "en")
    assert PLAN.holder(Msisdn(int("84" + national))) == HOLDERS_IN_LIBRARY[name]


@given(head=st.sampled_from([head for head in MOBILE_HEADS if head not in UNKNOWN_TO_LIBRARY]), tail=st.integers(0, 9_999_999))
def test_phonenumbers_formats_the_same_international_number(head: str, tail: int) -> None:
    national = "0" + (head + f"{tail:07d}")[:9]
    ours = PLAN.normalise(national)
    theirs = phonenumbers.format_number(phonenumbers.parse(national, "VN"), phonenumbers.PhoneNumberFormat.E164)
    assert f"+{ours}" == theirs


@given(st.text(alphabet="0123456789+-. ()84", max_size=16) | st.text(max_size=16))
def test_the_bulk_path_never_differs_from_the_single_one(raw: str) -> None:
    assert PLAN.normalise_many([raw]) == [PLAN.normalise(raw)]


@given(st.text(alphabet="0123456789+-. ()", max_size=18))
def test_a_normalised_number_is_a_fixed_point(raw: str) -> None:
    found = PLAN.normalise(raw)
    if not isinstance(found, DropReason):
        assert 84_300_000_000 <= found < 85_000_000_000
        assert PLAN.normalise(str(found)) == found


def test_a_number_of_no_known_prefix_has_no_holder() -> None:
    assert PLAN.holder(Msisdn(84951234567)) is None
    assert PLAN.holder(Msisdn(849)) is None


def test_a_longer_prefix_covers_only_its_own_block() -> None:
    plan = NumberPlan([Prefix("993", "Gmobile", CarrierCode("gmobile"), None)])
    assert plan.normalise("0993123456") == 84993123456
    assert plan.normalise("0994123456") is DropReason.UNALLOCATED


def test_mask_shows_four_and_three_digits() -> None:
    assert mask(84901234123) == "8490****123"


@pytest.mark.parametrize(
    "text",
    [
        "099 300 0001",
        "số 0993000001",
        "84.993.000.001",
        "+84 (0) 993-000-001",
        "099 - 300 - 0001",
        "gọi 993000001.",
        "0993\u2013000\u2013001",
    ],
)
def test_a_number_in_free_text_is_found(text: str) -> None:
    assert holds_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "12/CT-UBND",
        "12/06/2019",
        "Công văn 12/CV-SKHCN ngày 05-01-2026",
        "Đơn số 7 05.01.2026 14:30",
        "từ 05-01-2026 - 06-01-2026",
        "2026-01-05 2026-01-06",
        "12345678",
        "",
    ],
)
def test_documents_and_dates_are_no_numbers(text: str) -> None:
    assert not holds_number(text)
