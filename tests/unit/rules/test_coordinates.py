import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.rules.coordinates import degrees, spot


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("15.1135", 15.1135),
        (" 15,1135 ", 15.1135),
        ("15°06'48.6\"N", 15.1135),
        ("15°06'48,6\"B", 15.1135),
        ("N 15 06 48.6", 15.1135),
        ("15°06.81'", 15.1135),
        ("15º6′48.6″", 15.1135),
        ("15d06m48.6s", 15.1135),
        ("108°48'43,2\"Đ", 108.812),
        ("108 48 43.2 E", 108.812),
        ("15:06:48.6", 15.1135),
        ("-15.5", -15.5),
        ("15.5 S", -15.5),
        ("W108.5", -108.5),
        ("15", 15.0),
    ],
)
def test_degrees_as_people_write_them(text: str, value: float) -> None:
    assert degrees(text) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nan",
        "inf",
        "north",
        "15.1.2",
        "15.",
        ".5",
        "15°75'",
        "15°6'75\"",
        "181",
        "1 2 3 4",
        "15-06-48",
        "15.5 30",
        "0x15",
        "1e1",
    ],
)
def test_what_is_no_degrees(text: str) -> None:
    assert degrees(text) is None


@given(st.text(max_size=20))
def test_any_text_is_degrees_or_not(text: str) -> None:
    value = degrees(text)
    assert value is None or -180 <= value <= 180


@given(st.floats(0, 179.99))
def test_degrees_minutes_and_seconds_say_the_same(value: float) -> None:
    whole, rest = divmod(value, 1)
    minutes, rest = divmod(rest * 60, 1)
    written = f"{int(whole)}°{int(minutes):02d}'{min(rest * 60, 59.9999999):.7f}\""
    assert degrees(written) == pytest.approx(value, abs=1e-6)


@given(st.floats(14, 15.5), st.floats(107.3, 109.2))
def test_a_place_is_the_same_either_way_round(lat: float, lon: float) -> None:
    right, wrong = spot(f"{lat:.6f}", f"{lon:.6f}"), spot(f"{lon:.6f}", f"{lat:.6f}")
    assert right is not None
    assert wrong is not None
    assert (right[:2], right.swapped, wrong.swapped) == (wrong[:2], False, True)


def test_a_place_elsewhere_is_left_as_it_is() -> None:
    assert spot("21.03", "105.85") == (21.03, 105.85, False)
    assert spot("15.1", "") is None
