from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from broadcaster.errors import ConfigurationError, InvalidFileError
from broadcaster.files.templates import Purpose, lint_template, read_template, read_templates
from broadcaster.model import Variant
from broadcaster.text.template import InvalidTemplateError

GOOD = """\
version = 2
title = "Đính chính"
purpose = "correction"
quote = "nhắn tin cảnh báo"
accented = "TB: Tin về {{ chu_de }} có chỗ sai. Nghi lừa đảo, báo Công an."
unaccented = "TB: Tin ve {{ chu_de|fold }} co cho sai. Nghi lua dao, bao Cong an."

[provenance]
document = "12/CT-UBND"
date = 2019-06-12
authority = "Ủy ban nhân dân tỉnh Quảng Ngãi"

[variables.chu_de]
max_length = 20
example = "trúng thưởng"
"""


def write(folder: Path, text: str, name: str = "dinh-chinh.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_template_is_read_and_rendered(tmp_path: Path) -> None:
    template = read_template(write(tmp_path, GOOD))
    assert (template.key, template.version, template.purpose, template.tactic) == ("dinh-chinh", 2, Purpose.CORRECTION, None)
    assert template.provenance.date == dt.date(2019, 6, 12)
    assert template.render(Variant.UNACCENTED, {"chu_de": "đa cấp"}) == "TB: Tin ve da cap co cho sai. Nghi lua dao, bao Cong an."
    assert lint_template(template) == []
    with pytest.raises(InvalidTemplateError):
        template.render(Variant.ACCENTED, {"chu_de": "x" * 21})


def test_every_problem_of_a_file_is_listed(tmp_path: Path) -> None:
    text = (
        GOOD.replace("{{ chu_de }}", "{{ chude }}")
        .replace("{{ chu_de|fold }}", "{{ chu_de.x }}")
        .replace('"correction"', '"warning"')
    )
    with pytest.raises(InvalidFileError) as caught:
        read_template(write(tmp_path, text.replace("trúng thưởng", "a" * 21)))
    assert [problem.key for problem in caught.value.problems] == ["tactic", "variables.chu_de.example", "accented", "unaccented"]


def test_problems_of_all_files_come_together(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace("title", "tile"), "mot.toml")
    write(tmp_path, GOOD + "[", "hai.toml")
    write(tmp_path, GOOD, "Ba Mẫu.toml")
    with pytest.raises(InvalidFileError) as caught:
        read_templates(tmp_path)
    assert {Path(problem.file).name for problem in caught.value.problems} == {"mot.toml", "hai.toml", "Ba Mẫu.toml"}


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_templates(tmp_path / "khong-co")


@pytest.mark.parametrize(
    ("old", "new", "key", "rule"),
    [
        ("{{ chu_de|fold }} co", "{{ chu_de }} co", "unaccented", "unaccented"),
        ("{{ chu_de|fold }} co", "quy co", "unaccented", "unused-variable"),
        ("co cho sai", "khong sai", "unaccented", "spellings"),
        ("có chỗ sai", "có chỗ sai" + " dài" * 60, "accented", "parts"),
        ("co cho sai", "co cho sai" + " dai" * 20, "unaccented", "parts"),
        ("max_length = 20", "max_length = 99", "unaccented", "parts"),
        ("có chỗ sai", "có chỗ sai XXXX", "accented", "placeholder"),
    ],
)
def test_lint_says_which_spelling(tmp_path: Path, old: str, new: str, key: str, rule: str) -> None:
    found = lint_template(read_template(write(tmp_path, GOOD.replace(old, new))))
    assert (key, rule) in {(item.key, item.finding.rule) for item in found}
