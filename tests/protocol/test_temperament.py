from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.link.temperament import IdForm, ReceiptBy, SpanMs, Temperament, draw, read_temperament, spell_id

SIMULATED = Path(__file__).parents[2] / "carriers" / "simulated"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tinh-khi.toml"
    path.write_text(text)
    return path


def test_an_empty_script_is_a_carrier_without_fault(tmp_path: Path) -> None:
    assert read_temperament(written(tmp_path, "")) == Temperament()


def test_every_key_reaches_its_place(tmp_path: Path) -> None:
    text = """
seed = 9
[bind]
refuse_status = 0x0D
[response]
id = "hex"
first = 77
delay_ms = [1, 2]
drop_share = 0.01
[receipt]
id = "padded"
by = "text"
delay_ms = [3, 4]
undeliverable_share = 0.02
expired_share = 0.03
missing_share = 0.04
duplicate_share = 0.05
before_response_share = 0.06
[throttle]
tps = 7
every_s = 8
for_s = 2.5
[refuse]
share = 0.07
status = 0x0403
[reply]
share = 1
delay_ms = [5, 6]
[disconnect]
after = 1000
"""
    assert read_temperament(written(tmp_path, text)) == Temperament(
        seed=9,
        refuse_bind_status=0x0D,
        response_id=IdForm.HEX,
        first_number=77,
        response_delay_ms=SpanMs(1, 2),
        drop_response_share=0.01,
        receipt_id=IdForm.PADDED,
        receipt_by=ReceiptBy.TEXT,
        receipt_delay_ms=SpanMs(3, 4),
        undeliverable_share=0.02,
        expired_share=0.03,
        missing_share=0.04,
        duplicate_share=0.05,
        before_response_share=0.06,
        throttle_tps=7,
        throttle_every_s=8.0,
        throttle_for_s=2.5,
        refuse_share=0.07,
        refuse_status=0x0403,
        reply_share=1.0,
        reply_delay_ms=SpanMs(5, 6),
        disconnect_after=1000,
    )


def test_all_problems_are_told_at_once_with_line_and_key(tmp_path: Path) -> None:
    text = """seed = "one"
colour = 1
refuse.share = 1.5

[response]
id = "octal"
delay_ms = [9, 1]

[receipt]
shape = 2
by = true
undeliverable_share = 0.6
expired_share = 0.6

[throttle]
tps = true
for_s = 3
"""
    with pytest.raises(InvalidFileError) as caught:
        read_temperament(written(tmp_path, text))
    assert {(problem.key, problem.line) for problem in caught.value.problems} == {
        ("seed", 1),
        ("colour", 2),
        ("refuse.share", 3),
        ("response.id", 6),
        ("response.delay_ms", 7),
        ("receipt.shape", 10),
        ("receipt.by", 11),
        ("receipt.expired_share", 13),
        ("throttle.tps", 16),
        ("throttle.for_s", 17),
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("refuse = 1", "refuse"),
        ('[receipt]\nid = "uuid"', "receipt.id"),
        ('[response]\nid = "uuid"', "receipt.id"),
        ("[refuse]\nshare = nan", "refuse.share"),
        ("[[refuse]]\nshare = 1", "refuse"),
    ],
)
def test_contradictions_are_refused(text: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_temperament(written(tmp_path, text))
    assert [problem.key for problem in caught.value.problems] == [key]


def test_bad_syntax_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        read_temperament(written(tmp_path, "seed = 1\nthis is not toml\n"))
    assert caught.value.problems[0].line == 2


def test_an_absent_script_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_temperament(tmp_path / "khong-co.toml")


@pytest.mark.parametrize("name", ["gmobile", "mobifone", "vietnamobile", "viettel", "vinaphone"])
def test_shipped_scripts_are_sound_and_differ(name: str) -> None:
    moods = {path.stem: read_temperament(path) for path in SIMULATED.glob("*.toml")}
    assert moods[name].reply_share == 0.002
    assert list(moods.values()).count(moods[name]) == 1


@given(seed=st.integers(0, 2**63 - 1), number=st.integers(84_200_000_000, 84_999_999_999))
def test_a_lot_is_three_chances_and_does_not_change(seed: int, number: int) -> None:
    lot = draw(seed, str(number))
    assert lot == draw(seed, str(number))
    assert all(0 <= chance < 1 for chance in lot)


def test_shares_of_many_numbers_are_met() -> None:
    lots = [draw(1, f"849{index:08d}") for index in range(20_000)]
    for field in range(3):
        assert 700 < sum(lot[field] < 0.04 for lot in lots) < 900
    assert 15 < sum(lot.refuse < 0.04 and lot.outcome < 0.04 for lot in lots) < 55


@given(number=st.integers(0, 2**63))
def test_ids_say_their_number(number: int) -> None:
    assert int(spell_id(IdForm.DECIMAL, number)) == int(spell_id(IdForm.PADDED, number)) == number
    assert int(spell_id(IdForm.HEX, number), 16) == int(spell_id(IdForm.UUID, number).replace("-", ""), 16) == number
