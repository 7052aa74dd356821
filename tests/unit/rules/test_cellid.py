import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.rules.cellid import cell_key, key_of


@pytest.mark.parametrize(
    ("text", "radio", "key"),
    [
        ("lte:452-04:27447297", None, "lte:452-04:27447297"),
        ("452-04-27447297", None, "lte:452-04:27447297"),
        ("452-4-27447297", "LTE", "lte:452-04:27447297"),
        ("452-04-0x1A2D001", "4G", "lte:452-04:27447297"),
        ("452-04-0X1a2d001", None, "lte:452-04:27447297"),
        ("452-04-1234-27447297", "lte", "lte:452-04:27447297"),
        ("452-04-68719476735", None, "nr:452-04:68719476735"),
        ("nr:452-01:4096", None, "nr:452-01:4096"),
        ("452-04-12345-6789", None, "cgi:452-04:12345-6789"),
        ("452-04-12345-6789", "gsm", "cgi:452-04:12345-6789"),
        ("cgi:452-04:12345-6789", None, "cgi:452-04:12345-6789"),
        (" 452-04-12345-6789 ", "UMTS", "cgi:452-04:12345-6789"),
        ("ECGI:452-04-1A2D001", None, "lte:452-04:27447297"),
        ("NCGI 452-01-68719476735", None, "nr:452-01:68719476735"),
        ("CGI=452-04-12345-6789", None, "cgi:452-04:12345-6789"),
        ("LTE-452-04-27447297", None, "lte:452-04:27447297"),
        ("452_04_12345_6789", None, "cgi:452-04:12345-6789"),
        ("452.04.12345.6789", None, "cgi:452-04:12345-6789"),
        ("452 04 12345 6789", None, "cgi:452-04:12345-6789"),
        ("452/04/12345/6789", None, "cgi:452-04:12345-6789"),
        ("452-04-107216-1", "lte", "lte:452-04:27447297"),
        ("452-04-107216-1", None, None),
        ("452041A2D001", None, "lte:452-04:27447297"),
        ("4520401A2D001", "lte", "lte:452-04:27447297"),
        ("4520401A2B3C", "4G", "lte:452-04:1715004"),
        ("45204-01A2B3C", "4G", "lte:452-04:1715004"),
        ("45204-01A2B3C", None, "lte:452-04:1715004"),
        ("45204768001", "lte", "lte:452-04:768001"),
        ("45204768001", None, None),
        ("45204303985E6", None, "cgi:452-04:12345-34278"),
        ("45201FFFFFFFFF", None, "nr:452-01:68719476735"),
        ("45204123456789", None, "lte:452-04:123456789"),
        ("452041234506789", "gsm", "cgi:452-04:12345-6789"),
        ("452-04-27447297.0", None, "lte:452-04:27447297"),
        ("452-04-12345-6789", "2G/3G", "cgi:452-04:12345-6789"),
        ("452-04-27447297", "LTE1800 Macro", "lte:452-04:27447297"),
    ],
)
def test_spellings_of_a_cell(text: str, radio: str | None, key: str | None) -> None:
    assert cell_key(text, radio) == key


def test_a_long_umts_identity_is_brought_to_its_cell() -> None:
    rnc, ci = 301, 6789
    assert key_of("umts", "452", "04", "12345", str(rnc << 16 | ci)) == key_of("umts", "452", "4", "12345", str(ci))


@pytest.mark.parametrize(
    ("text", "radio"),
    [
        ("", None),
        ("452", None),
        ("452-04", None),
        ("452-04-", None),
        ("452-04-x", None),
        ("45-04-1", None),
        ("452-123-1", None),
        ("452-04-1-2-3", None),
        ("452-04-0-6789", None),
        ("452-04-65534-6789", None),
        ("452-04-65536-6789", None),
        ("452-04-12345-65536", None),
        ("452-04-268435456", "lte"),
        ("452-04-68719476736", None),
        ("452-04-27447297", "cdma"),
        ("452-04--5", "lte"),
        ("452-04-1_000", "lte"),
        ("45204123456789", "gsm"),
        ("2.74E+07", "lte"),
        ("452-04-2.74E7", "lte"),
        ("4520412", None),
    ],
)
def test_what_names_no_cell(text: str, radio: str | None) -> None:
    assert cell_key(text, radio) is None


@given(st.integers(0, 2**28 - 1), st.integers(0, 99))
def test_a_key_is_its_own_key(eci: int, mnc: int) -> None:
    key = cell_key(f"452-{mnc}-{eci:#x}", "lte")
    assert key is not None
    assert cell_key(key) == key


@given(st.text(max_size=30))
def test_any_text_gives_a_key_or_none(text: str) -> None:
    key = cell_key(text)
    assert key is None or cell_key(key) == key
