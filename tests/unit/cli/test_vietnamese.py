"""click's own sentences: every one a person may meet is in our table, and still in click as we know it."""

import ast
import importlib
import inspect
import string
import unicodedata

import pytest

from broadcaster.cli.vietnamese import _MODULES, SENTENCES
from broadcaster.lang import speak


def click_sentences() -> set[str]:
    found = set()
    for name in _MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(f"click.{name}")))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "ngettext"}:
                found |= {item.value for item in node.args if isinstance(item, ast.Constant) and isinstance(item.value, str)}
    return found


def test_every_translated_sentence_is_still_one_of_clicks() -> None:
    # "required" is the value of a variable there, not a literal.
    assert set(SENTENCES) - click_sentences() == {"required"}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_translation_asks_for_nothing_click_does_not_give(sentence: str) -> None:
    def fields(text: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    assert fields(SENTENCES[sentence]) <= fields(sentence)


@pytest.mark.parametrize("translated", SENTENCES.values())
def test_translations_are_composed_letters(translated: str) -> None:
    assert unicodedata.is_normalized("NFC", translated)


@pytest.mark.parametrize(
    ("arguments", "vietnamese", "english"),
    [
        (["nothing"], "Không có lệnh 'nothing'.", "No such command 'nothing'."),
        (["area", "list", "--nothing"], "Không có tùy chọn '--nothing'.", "No such option '--nothing'."),
        (["area"], "Thiếu lệnh.", "Missing command."),
        (["roster", "import-ports"], "Thiếu tham số", "Missing argument"),
        (["campaign", "pause", "x"], "Thiếu tùy chọn '--reason'.", "Missing option '--reason'."),
        (["area", "list", "more"], "Thừa tham số (more)", "Got unexpected extra argument (more)"),
        (["optout", "list", "--limit", "many"], "'many' không phải là số hợp lệ.", "'many' is not a valid integer range."),
        (["optout", "list", "--limit", "0"], "nằm ngoài khoảng", "is not in the range"),
        (["cell", "import", "/nowhere/cells.csv"], "Không có '/nowhere/cells.csv'.", "File '/nowhere/cells.csv' does not exist."),
        (["init", "x", "--environment", "test"], "không thuộc: 'rehearsal', 'live'", "is not one of 'rehearsal', 'live'"),
    ],
)
def test_usage_errors_speak_both_languages(cli, arguments: list[str], vietnamese: str, english: str) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert vietnamese in said.err
    assert said.err.startswith("Lỗi: ")
    assert "Cách sửa: xem hướng dẫn bằng: broadcaster" in said.err
    assert said.out == ""
    speak("en")
    said = cli(*arguments)
    assert said.code == 2
    assert english.lower() in said.err.lower()
    assert said.err.startswith("Error: ")
