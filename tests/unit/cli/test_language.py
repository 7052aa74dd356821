"""The language is settled before any help text is made."""

import pytest

from broadcaster.__main__ import language


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, "vi"),
        (["--lang", "en", "area", "list"], {}, "en"),
        (["area", "list", "--lang=en"], {}, "en"),
        ([], {"BROADCASTER_LANG": "en"}, "en"),
        (["--lang", "vi"], {"BROADCASTER_LANG": "en"}, "vi"),
        (["--lang", "fr"], {}, "vi"),
        (["--lang"], {}, "vi"),
        (["--", "--lang", "en"], {}, "vi"),
    ],
)
def test_language_comes_from_flag_then_environment(arguments: list[str], environment: dict[str, str], expected: str) -> None:
    assert language(arguments, environment) == expected


def test_a_language_that_does_not_exist_is_a_usage_error(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROADCASTER_LANG", "fr")
    said = cli("area", "list")
    assert (said.code, said.out) == (2, "")
    assert "BROADCASTER_LANG" in said.err
    monkeypatch.setenv("BROADCASTER_LANG", "en")
    assert cli("area", "list").code == 0
