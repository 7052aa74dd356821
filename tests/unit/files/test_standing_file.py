"""The shipped test texts are what their names say; the approval file keeps what was signed; test numbers stay hidden."""

import datetime as dt
from pathlib import Path

import pytest

from broadcaster.errors import InvalidFileError
from broadcaster.files.carriers import read_card, read_cards
from broadcaster.files.standing import read_check_texts, read_standing, write_standing
from broadcaster.files.templates import read_templates
from broadcaster.model import Environment
from broadcaster.rules.standing import StandingApproval, digest
from broadcaster.text.fold import fold
from broadcaster.text.segment import segment

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("environment", list(Environment))
@pytest.mark.parametrize("bits", [8, 16])
def test_the_shipped_test_texts_have_the_parts_their_names_say(environment, bits):
    texts = read_check_texts(REPOSITORY / "templates", environment)
    assert set(texts) == {"accented-1", "unaccented-1", "accented-3", "unaccented-3"}
    for name, text in texts.items():
        pieces = segment(text, reference_bits=bits)
        assert (str(pieces.coding), f"{len(pieces.parts)}") == ("ucs2" if name.startswith("accented") else "gsm", name[-1])
        assert text.startswith(("DIỄN TẬP: TB: ", "DIEN TAP: TB: ") if environment is Environment.REHEARSAL else "TB: ")
        assert name.startswith("accented") or fold(text) == text


def test_the_test_texts_suit_every_shipped_card_and_are_no_template():
    texts = read_check_texts(REPOSITORY / "templates", Environment.LIVE)
    forbidden = set(r"%#&[]{}\<@")
    assert not any(forbidden & set(text) for text in texts.values())
    assert "kiem-tra-ket-noi" not in {template.key for template in read_templates(REPOSITORY / "templates")}


def test_what_was_signed_comes_back(tmp_path):
    path = tmp_path / "standing.toml"
    assert read_standing(path) is None
    at = dt.datetime(2026, 3, 12, 3, tzinfo=dt.UTC)
    made = StandingApproval(Environment.LIVE, 'A"\\B', {"a-1": "0" * 64}, dt.date(2026, 12, 31), 40, "lanh-dao-so", at, b"\1" * 64)
    write_standing(path, made)
    assert read_standing(path) == made
    assert digest(made) == digest(read_standing(path))
    assert path.stat().st_mode & 0o777 == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["standing.toml"]


def test_a_broken_approval_is_a_problem_with_its_place(tmp_path):
    path = tmp_path / "standing.toml"
    path.write_text('environment = "live"\nsignature = "không phải"\n[texts]\na = "1"\n', "utf-8")
    with pytest.raises(InvalidFileError) as caught:
        read_standing(path)
    assert {"signature", "texts.a", "daily"} <= {problem.key for problem in caught.value.problems}


def card_with(tmp_path, numbers):
    text = (REPOSITORY / "carriers" / "rehearsal" / "viettel.toml").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("test_numbers")]
    path = tmp_path / "viettel.toml"
    path.write_text("\n".join([f"test_numbers = {numbers}", *lines]), "utf-8")
    return read_card(path, {})


def test_test_numbers_are_brought_to_one_form_and_shown_nowhere(tmp_path):
    card = card_with(tmp_path, '["0961 000 001", "+84.961.000.002"]')
    assert card.test_numbers == (84961000001, 84961000002)
    assert "961" not in repr(card)


@pytest.mark.parametrize("numbers", ['["0961 000 001", "84961000001"]', '["0255 3822 123"]', '["113"]', "[961000001]"])
def test_a_bad_test_number_is_refused_without_being_shown(tmp_path, numbers):
    with pytest.raises(InvalidFileError) as caught:
        card_with(tmp_path, numbers)
    (problem,) = caught.value.problems
    assert problem.key.startswith("test_numbers")
    assert "961" not in str(caught.value)
    assert "3822" not in str(caught.value)


def test_shipped_live_cards_register_nobody_and_rehearsal_cards_their_own_carrier():
    from broadcaster.files.prefixes import read_plan

    for path in (REPOSITORY / "carriers").glob("*.toml"):
        assert "\ntest_numbers = []\n" in path.read_text("utf-8")
    for code, card in read_cards(REPOSITORY / "carriers" / "rehearsal", {}, Environment.REHEARSAL).items():
        assert {read_plan().holder(number) for number in card.test_numbers} == {code}
